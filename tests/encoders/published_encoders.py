"""Encoders of the transformers package, and ours with their weights."""

from __future__ import annotations

from torch import Tensor, nn

from speechlite.encoders.config import TransformerConfig
from speechlite.encoders.transformer import TransformerEncoder

DIM, HEADS, LAYERS = 16, 4, 3
_SIZES = {
    "hidden_size": DIM,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 4,
}
_OURS = {
    "dim": DIM,
    "heads": HEADS,
    "layers": LAYERS,
    "feedforward": 24,
    "positions": "convolution",
    "position_kernel": 6,
    "position_groups": 4,
}
PUBLISHED = ("hubert", "hubert_large", "wavlm", "wavlm_large")
_NAMES = {
    "attention.q_proj": "attention.query",
    "attention.k_proj": "attention.key",
    "attention.v_proj": "attention.value",
    "attention.out_proj": "attention.output",
    "layer_norm": "attention_norm",
    "feed_forward.intermediate_dense": "feedforward.expand",
    "feed_forward.output_dense": "feedforward.contract",
    "final_layer_norm": "feedforward_norm",
    "attention.gru_rel_pos_linear": "attention.bias_gate.linear",
}


def published(name: str) -> nn.Module:
    """Return a small encoder of transformers in eval mode, with random weights."""
    from transformers import HubertConfig, WavLMConfig
    from transformers.models.hubert import modeling_hubert as hubert
    from transformers.models.wavlm import modeling_wavlm as wavlm

    if name.startswith("hubert"):
        config = HubertConfig(**_SIZES, attn_implementation="eager")
        kinds = {"hubert": hubert.HubertEncoder}
        make = kinds.get(name, hubert.HubertEncoderStableLayerNorm)
    else:
        config = WavLMConfig(**_SIZES, num_buckets=16, max_bucket_distance=20)
        make = {"wavlm": wavlm.WavLMEncoder}.get(name, wavlm.WavLMEncoderStableLayerNorm)
    encoder = make(config).eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    return encoder


def ours_with_weights_of(theirs: nn.Module, name: str) -> TransformerEncoder:
    """Return our encoder of the same kind with the weights of theirs."""
    is_large, has_bias = name.endswith("large"), name.startswith("wavlm")
    options = {**_OURS, "norm": "pre" if is_large else "post", "relative_bias": has_bias}
    ours = TransformerEncoder(TransformerConfig(**options, bias_buckets=16, bias_distance=20))
    weights = {
        f"layers.{i}.{key}": value for i in range(LAYERS) for key, value in _layer(theirs, i)
    }
    position = theirs.pos_conv_embed.conv
    weights["positions.gain"] = position.parametrizations.weight.original0
    weights["positions.direction"] = position.parametrizations.weight.original1
    weights["positions.bias"] = position.bias
    norm = "final_norm" if is_large else "input_norm"
    weights |= {f"{norm}.{key}": value for key, value in theirs.layer_norm.named_parameters()}
    if has_bias:
        embedding = theirs.layers[0].attention.rel_attn_embed.weight
        weights["relative_bias.embedding.weight"] = embedding
    missing = ours.load_state_dict(weights, strict=False).missing_keys
    assert all(key.endswith("bias_gate.heads") for key in missing), missing
    return ours.eval()


def _layer(theirs: nn.Module, index: int) -> list[tuple[str, Tensor]]:
    layer, rows = theirs.layers[index], []
    for key, value in layer.named_parameters():
        path, _, leaf = key.rpartition(".")
        if path in _NAMES:
            rows.append((f"{_NAMES[path]}.{leaf}", value))
    if hasattr(layer.attention, "gru_rel_pos_const"):
        rows.append(("attention.bias_gate.scale", layer.attention.gru_rel_pos_const.flatten()))
    return rows


def states_of(theirs: nn.Module, frames_BSD: Tensor, valid_BS: Tensor | None) -> list[Tensor]:
    """Return what each of their layers gives, the last one after the final norm."""
    states = []
    hooks = [
        layer.register_forward_hook(
            lambda _, __, out: states.append(out[0] if isinstance(out, tuple) else out)
        )
        for layer in theirs.layers
    ]
    last_BSD = theirs(frames_BSD.clone(), attention_mask=valid_BS).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*states[:-1], last_BSD]
