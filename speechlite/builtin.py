"""The built-in plugin: the components that come with speechlite, as records."""

from __future__ import annotations

from speechlite import Component, hookimpl

__all__ = ["speechlite_components"]

COMPONENTS = (
    Component(
        kind="frontend",
        name="fbank_pitch",
        target="speechlite.frontends.fbank_pitch:FbankPitch",
        config="speechlite.frontends.config:FbankPitchConfig",
        summary="80 log-mel filterbanks and 3 pitch features",
    ),
    Component(
        kind="frontend",
        name="fbank",
        target="speechlite.frontends.fbank:Fbank",
        config="speechlite.frontends.config:FbankConfig",
        summary="log-mel filterbanks",
    ),
    Component(
        kind="frontend",
        name="mfcc",
        target="speechlite.frontends.mfcc:Mfcc",
        config="speechlite.frontends.config:MfccConfig",
        summary="mel-frequency cepstral coefficients with deltas",
    ),
    Component(
        kind="frontend",
        name="conv_waveform",
        target="speechlite.frontends.conv_waveform:ConvWaveform",
        config="speechlite.frontends.config:ConvWaveformConfig",
        summary="strided convolutions over the waveform (wav2vec 2.0, HuBERT, SEW)",
    ),
    Component(
        kind="encoder",
        name="conformer",
        target="speechlite.encoders.conformer:ConformerEncoder",
        config="speechlite.encoders.config:ConformerConfig",
        summary="conformer layers, which may share parameters and stop early",
    ),
    Component(
        kind="encoder",
        name="transformer",
        target="speechlite.encoders.transformer:TransformerEncoder",
        config="speechlite.encoders.config:TransformerConfig",
        summary="pre-norm or post-norm transformer layers (HuBERT, WavLM)",
    ),
    Component(
        kind="encoder",
        name="squeezeformer",
        target="speechlite.encoders.squeezeformer:SqueezeformerEncoder",
        config="speechlite.encoders.config:SqueezeformerConfig",
        summary="attention and convolution layers, most of them at half the frame rate",
    ),
    Component(
        kind="encoder",
        name="sparseformer",
        target="speechlite.encoders.sparseformer:SparseformerEncoder",
        config="speechlite.encoders.config:SparseformerConfig",
        summary="transformer layers that attend over a sparse pattern of frames",
    ),
    Component(
        kind="encoder",
        name="identity",
        target="speechlite.encoders.identity:IdentityEncoder",
        config="speechlite.encoders.config:IdentityConfig",
        summary="no layers: hidden states are the features themselves",
    ),
    Component(
        kind="objective",
        name="reconstruction",
        target="speechlite.objectives.reconstruction:Reconstruction",
        config="speechlite.objectives.config:ReconstructionConfig",
        summary="L1 reconstruction of masked features",
    ),
    Component(
        kind="objective",
        name="masked_prediction",
        target="speechlite.objectives.masked_prediction:MaskedPrediction",
        config="speechlite.objectives.config:MaskedPredictionConfig",
        summary="units of masked frames (HuBERT)",
    ),
    Component(
        kind="objective",
        name="distillation",
        target="speechlite.objectives.distillation:Distillation",
        config="speechlite.objectives.config:DistillationConfig",
        summary="hidden states of a frozen teacher",
    ),
    Component(
        kind="objective",
        name="finetune",
        target="speechlite.objectives.finetune:Finetune",
        config="speechlite.objectives.config:FinetuneConfig",
        summary="a head's loss, through the whole model",
    ),
    Component(
        kind="compressor",
        name="l0_structured",
        target="speechlite.compressors.l0_structured:L0Structured",
        config="speechlite.compressors.config:L0StructuredConfig",
        summary="channels, heads and units that training under a size constraint leaves (DPHuBERT)",
    ),
    Component(
        kind="compressor",
        name="magnitude_structured",
        target="speechlite.compressors.magnitude_structured:MagnitudeStructured",
        config="speechlite.compressors.config:MagnitudeStructuredConfig",
        summary="channels, heads and units of the largest weights, without training",
    ),
    Component(
        kind="compressor",
        name="student",
        target="speechlite.compressors.student:Student",
        config="speechlite.compressors.config:StudentConfig",
        summary="a smaller model of the same kind, which starts from its teacher's weights",
    ),
    Component(
        kind="compressor",
        name="binary",
        target="speechlite.compressors.binary:Binary",
        config="speechlite.compressors.config:BinaryConfig",
        summary="weights and activations of one bit, or of a few, trained and then packed (BiT)",
    ),
    Component(
        kind="compressor",
        name="int8",
        target="speechlite.compressors.int8:Int8",
        config="speechlite.compressors.config:Int8Config",
        summary="linear layers of eight-bit weights, without training",
    ),
    Component(
        kind="compressor",
        name="magnitude",
        target="speechlite.compressors.magnitude:Magnitude",
        config="speechlite.compressors.pruning_config:MagnitudeConfig",
        summary="single weights of the smallest magnitude, at once",
    ),
    Component(
        kind="compressor",
        name="parp",
        target="speechlite.compressors.magnitude:Parp",
        config="speechlite.compressors.pruning_config:ParpConfig",
        summary="single weights, pruned again and again in training (PARP)",
    ),
    Component(
        kind="compressor",
        name="wanda",
        target="speechlite.compressors.obs:Wanda",
        config="speechlite.compressors.pruning_config:WandaConfig",
        summary="single weights by magnitude and input, without training (Wanda)",
    ),
    Component(
        kind="compressor",
        name="obs",
        target="speechlite.compressors.obs:Obs",
        config="speechlite.compressors.pruning_config:ObsConfig",
        summary="single weights by the optimal brain surgeon, which repairs the others (SparseWAV)",
    ),
    Component(
        kind="compressor",
        name="depth",
        target="speechlite.compressors.depth:Depth",
        config="speechlite.compressors.config:DepthConfig",
        summary="keep the first layers only",
    ),
    Component(
        kind="head",
        name="phone",
        target="speechlite.heads.phone:PhoneHead",
        config="speechlite.heads.config:PhoneConfig",
        summary="a phone for every frame, scored by accuracy",
    ),
    Component(
        kind="head",
        name="ctc",
        target="speechlite.heads.ctc:CtcHead",
        config="speechlite.heads.config:CtcConfig",
        summary="characters by CTC, scored by word error rate",
    ),
    Component(
        kind="head",
        name="tdnn",
        target="speechlite.heads.tdnn:TdnnHead",
        config="speechlite.heads.config:TdnnConfig",
        summary="a class for every frame by a time-delay network, as acoustic model of an HMM",
    ),
)
"""One record a component, as strings."""


@hookimpl
def speechlite_components() -> tuple[Component, ...]:
    """Offer the built-in components.

    Returns:
        One record a component.
    """
    return COMPONENTS
