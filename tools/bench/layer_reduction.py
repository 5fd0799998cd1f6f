"""Measure what Layer Reduction saves: training with shared layers and random depth, and SLI(5).

Two ratios at the paper's width, each against the 8-layer model of the same code, in one run:
a training step of U(2,8) with shared parameters, averaged over its seven depths (forward, L1 loss,
backward, Adam), and a forward of 5 layers for one utterance. ESPnet's encoder of the same shape is
measured beside ours where ESPnet is installed.

    .venv/bin/python tools/bench/layer_reduction.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator

import torch
from paired import paired_ratio

from speechlite.core.model import ModelSpec, SpeechModel
from speechlite.core.types import Batch, Padded
from speechlite.engine.build import build_model
from speechlite.objectives.config import ReconstructionConfig
from speechlite.objectives.reconstruction import Reconstruction
from speechlite.testing.fixtures import installed_registry

FEATURES = 83


def model(**options: object) -> SpeechModel:
    """Return the paper's model with some options changed."""
    torch.manual_seed(0)
    spec = ModelSpec(frontend={"name": "fbank_pitch"}, encoder={"name": "conformer", **options})
    return build_model(spec, installed_registry())


def batch(utterances: int, frames: int) -> Batch:
    """Return cached features of noise."""
    values_BSF = torch.randn(utterances, frames, FEATURES)
    lengths_B = torch.full((utterances,), frames)
    names = tuple(f"utterance-{row}" for row in range(utterances))
    return Batch(ids=names, features=Padded(values_BSF, lengths_B), seed=1)


class Trainer:
    """Do training steps at a given depth."""

    def __init__(self, trained: SpeechModel) -> None:
        self.model = trained.train()
        self.objective = Reconstruction(ReconstructionConfig(), model=trained).train()
        parameters = [*trained.parameters(), *self.objective.parameters()]
        self.adam = torch.optim.Adam(parameters, lr=1e-4)

    def step(self, inputs: Batch, depth: int) -> None:
        """Do one step that executes ``depth`` layers."""
        self.model.encoder.draw_depth = lambda seed: depth  # type: ignore[method-assign]
        loss = self.objective(self.model, inputs)
        self.adam.zero_grad()
        (loss.sum / loss.weight).backward()
        self.adam.step()


def training(inputs: Batch, repeats: int) -> dict[str, object]:
    """Compare a U(2,8) step with shared parameters with an 8-layer step."""
    whole, shared = Trainer(model()), Trainer(model(share_parameters=True))
    depths = range(2, 9)

    def ours() -> None:
        for depth in depths:
            shared.step(inputs, depth)

    def peer() -> None:
        for _ in depths:
            whole.step(inputs, 8)

    return paired_ratio(ours, peer, repeats=repeats)


def inference(frames: int, repeats: int) -> dict[str, object]:
    """Compare a forward of 5 layers with one of 8."""
    whole = model(share_parameters=True).eval()
    features = batch(1, frames).features
    assert features is not None

    def forward(depth: int) -> Callable[[], None]:
        def call() -> None:
            with torch.inference_mode():
                whole.encode(features, num_layers=depth)

        return call

    return paired_ratio(forward(5), forward(8), repeats=repeats)


def espnet_forward(frames: int, repeats: int) -> dict[str, object] | None:
    """Compare our 8-layer forward with ESPnet's, or return None without ESPnet."""
    try:
        from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
    except ImportError:
        return None
    peer = ConformerEncoder(
        FEATURES,
        output_size=512,
        attention_heads=4,
        linear_units=2048,
        num_blocks=8,
        input_layer="linear",
        macaron_style=False,
        rel_pos_type="latest",
        pos_enc_layer_type="rel_pos",
        selfattention_layer_type="rel_selfattn",
        activation_type="swish",
        cnn_module_kernel=15,
    ).eval()
    ours = model().eval()
    features = batch(1, frames).features
    assert features is not None

    def call_ours() -> None:
        with torch.inference_mode():
            ours.encode(features)

    def call_peer() -> None:
        with torch.inference_mode():
            peer(features.values, features.lengths)

    return paired_ratio(call_ours, call_peer, repeats=repeats)


def results(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Yield one result a bench."""
    facts = {"threads": arguments.threads, "width": 512}
    measured = training(batch(arguments.utterances, arguments.frames), arguments.repeats)
    yield {"bench": "train U(2,8) + PSS", "peer": "train 8 layers", **facts, **measured}
    measured = inference(1000, 2 * arguments.repeats + 1)
    yield {"bench": "SLI(5) forward, 10 s", "peer": "8 layers forward, 10 s", **facts, **measured}
    beside = espnet_forward(1000, 2 * arguments.repeats + 1)
    if beside is not None:
        yield {"bench": "8 layers forward, 10 s", "peer": "ESPnet forward", **facts, **beside}


def main() -> None:
    """Print one JSON line a bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--utterances", type=int, default=2)
    parser.add_argument("--frames", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for result in results(arguments):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
