"""ESPnet's encoders in speechlite, and speechlite's models in ESPnet.

What the plugin offers, as records; nothing here imports torch or ESPnet.
"""

from __future__ import annotations

from speechlite import Component, hookimpl

__all__ = ["speechlite_components"]


@hookimpl
def speechlite_components() -> list[Component]:
    """Offer ESPnet's encoders.

    Returns:
        One record a component.
    """
    return [
        Component(
            kind="encoder",
            name="e_branchformer",
            target="speechlite_espnet.e_branchformer:EBranchformerEncoder",
            config="speechlite_espnet.config:EBranchformerConfig",
            summary="ESPnet's E-Branchformer layers: attention beside a convolutional gating MLP",
        ),
        Component(
            kind="encoder",
            name="branchformer",
            target="speechlite_espnet.branchformer:BranchformerEncoder",
            config="speechlite_espnet.config:BranchformerConfig",
            summary="ESPnet's Branchformer layers, with three ways to merge the branches",
        ),
        Component(
            kind="encoder",
            name="espnet_conformer",
            target="speechlite_espnet.conformer:ConformerEncoder",
            config="speechlite_espnet.config:ConformerConfig",
            summary="ESPnet's Conformer layers",
        ),
    ]
