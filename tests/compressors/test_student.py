"""Students: exact sizes of published ones, and where their weights come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from prunable_models import REGISTRY, model_of, num_parameters, states

from speechlite.compressors.config import DepthConfig, StudentConfig
from speechlite.compressors.depth import Depth
from speechlite.compressors.student import Student
from speechlite.config.compose import compose
from speechlite.core.errors import ConfigError, PlanError
from speechlite.core.model import ModelSpec
from speechlite.engine.build import build_compressor, build_model, build_objective

CONF = Path(__file__).parents[2] / "egs" / "librispeech" / "dphubert" / "conf"
TEACHER = {"name": "transformer", "norm": "post", "positions": "convolution"}


def _hubert_base():
    with torch.device("meta"):
        return build_model(ModelSpec({"name": "conv_waveform"}, TEACHER), REGISTRY)


def _published(name):
    """Return a recipe's student, its teacher and its objective."""
    config = compose(
        "compress", registry=REGISTRY, config_dir=CONF, config_name=f"compress_{name}_full"
    )
    teacher = _hubert_base()
    with torch.device("meta"):
        student = build_compressor(config.compressor, REGISTRY).prepare(teacher)
        objective = build_objective(
            config.objective, student, REGISTRY, models={"teacher": teacher}
        )
    return student, teacher, objective


def _student(**options):
    return Student(StudentConfig(**options))


def _shared_tensors(student, teacher):
    """Return which tensors of a student are those of the same name of its teacher."""
    known = teacher.state_dict()
    return {
        name
        for name, value in student.state_dict().items()
        if name in known and torch.equal(known[name], value)
    }


@pytest.mark.parametrize(
    ("name", "total"), [("distilhubert", 23_491_200), ("one", 30_579_072), ("half", 26_871_936)]
)
def test_student_when_it_is_a_published_one_then_it_has_as_many_parameters(name, total):
    student, teacher, _ = _published(name)
    assert num_parameters(teacher) == 94_370_944
    assert num_parameters(student) == total


def test_student_when_it_is_fithubert_then_it_has_as_many_parameters_with_its_heads():
    student, _, objective = _published("fithubert")
    assert num_parameters(student) + num_parameters(objective.heads[0]) == 22_492_064
    assert num_parameters(student) + num_parameters(objective) == 31_629_632


def test_prepare_when_the_student_starts_from_the_teacher_then_equal_shapes_are_its_tensors():
    teacher = model_of("base")
    student = _student(encoder={"layers": 2}).prepare(teacher)
    assert student.num_layers == 2
    assert _shared_tensors(student, teacher) == set(student.state_dict())


def test_prepare_when_widths_differ_then_only_equal_shapes_are_the_teachers():
    teacher = model_of("base")
    student = _student(encoder={"feedforward": 24}).prepare(teacher)
    anew = set(student.state_dict()) - _shared_tensors(student, teacher)
    parts = ("expand.weight", "expand.bias", "contract.weight")
    expected = {f"encoder.layers.{n}.feedforward.{part}" for n in range(3) for part in parts}
    assert anew == expected


def test_prepare_when_the_start_is_random_then_no_tensor_is_the_teachers():
    teacher = model_of("base")
    student = _student(encoder={"layers": 2}, start="random").prepare(teacher)
    assert _shared_tensors(student, teacher) == set()


def test_prepare_when_layers_are_chosen_then_the_student_starts_from_them():
    teacher = model_of("base")
    student = _student(encoder={"layers": 2}, start_layers=[2, 0]).prepare(teacher)
    for depth, source in enumerate((2, 0)):
        ours = student.encoder.layers[depth].state_dict()
        theirs = teacher.encoder.layers[source].state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_prepare_when_the_student_is_deeper_then_further_layers_start_anew():
    teacher = model_of("base")
    student = _student(encoder={"layers": 5}).prepare(teacher)
    shared = _shared_tensors(student, teacher)
    assert {name for name in student.state_dict() if ".layers." not in name} <= shared
    layers = {name.split(".")[2] for name in shared if name.startswith("encoder.layers")}
    assert layers == {"0", "1", "2"}
    ours = student.state_dict()["encoder.layers.4.attention.query.weight"]
    assert bool(torch.isfinite(ours).all())


def test_prepare_when_only_first_layers_stay_then_states_are_the_teachers_first():
    teacher = model_of("base")
    student = _student(encoder={"layers": 2}).prepare(teacher)
    for ours_BSD, expected_BSD in zip(states(student), states(teacher)[:3], strict=True):
        assert torch.equal(ours_BSD, expected_BSD)


def test_prepare_when_the_student_is_trained_then_the_teacher_is_left_alone():
    teacher = model_of("base")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = _student(encoder={"layers": 2}).prepare(teacher)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_prepare_when_frames_are_joined_then_states_keep_the_teachers_rate():
    teacher = model_of("base")
    student = _student(encoder={"time_reduction": 2}).prepare(teacher)
    assert states(student)[-1].shape == states(teacher)[-1].shape


def test_prepare_when_the_frontend_changes_then_it_is_rebuilt_for_the_encoders_width():
    teacher = model_of("base")
    student = _student(encoder={"dim": 16}, frontend={"channels": [6, 8, 10]}).prepare(teacher)
    assert (student.frontend.num_features, student.dim) == (10, 16)
    assert states(student)[0].shape[-1] == 16


def _shallow_teacher():
    depth = Depth(DepthConfig(layers=2))
    return depth.restructure(model_of("base"), {"layers": 2})


def test_prepare_when_layers_of_the_teacher_were_removed_then_they_do_not_come_back():
    teacher = _shallow_teacher()
    student = _student(encoder={"feedforward": 24}).prepare(teacher)
    assert student.num_layers == 2
    assert _student(encoder={"layers": 3}).prepare(teacher).num_layers == 3


def test_prepare_when_the_teacher_already_lost_these_layers_then_it_is_refused():
    with pytest.raises(PlanError, match="would have the teacher's options"):
        _student(encoder={"layers": 2}).prepare(_shallow_teacher())


def test_plan_when_made_then_it_is_the_options_that_differ():
    chosen = _student(encoder={"layers": 2}, frontend={"channels": [6, 8, 10]})
    plan = chosen.plan(chosen.prepare(model_of("base")))
    assert plan == {"encoder": {"layers": 2}, "frontend": {"channels": [6, 8, 10]}}
    assert json.loads(json.dumps(plan)) == plan


def test_restructure_when_the_student_was_trained_then_its_weights_stay():
    chosen = _student(encoder={"layers": 2})
    student = chosen.prepare(model_of("base"))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    carried = chosen.restructure(student, chosen.plan(student))
    assert carried is not student
    assert _shared_tensors(carried, student) == set(student.state_dict())


def test_restructure_when_the_model_is_fresh_then_the_students_weights_fit():
    chosen = _student(encoder={"dim": 16, "time_reduction": 2}, frontend={"bias": True})
    student = chosen.prepare(model_of("base"))
    plan = json.loads(json.dumps(chosen.plan(student)))
    again = chosen.restructure(model_of("base", seed=1), plan).eval()
    again.load_state_dict(student.state_dict(), strict=True)
    assert all(torch.equal(*pair) for pair in zip(states(again), states(student), strict=True))


@pytest.mark.parametrize("options", [{}, {"encoder": {"layers": 3}}, {"frontend": {"bias": False}}])
def test_prepare_when_the_student_would_be_the_teacher_then_it_is_refused(options):
    with pytest.raises(PlanError, match="would have the teacher's options; change compressor.enc"):
        _student(**options).prepare(model_of("base"))


@pytest.mark.parametrize("layers", [[0], [0, 1, 2], [0, 3]])
def test_prepare_when_start_layers_do_not_fit_then_they_are_refused(layers):
    message = r"start_layers=\[.*\] for a student of 2 layers and a teacher of 3: expected one"
    with pytest.raises(PlanError, match=message):
        _student(encoder={"layers": 2}, start_layers=layers).prepare(model_of("base"))


def test_prepare_when_the_encoder_has_no_such_option_then_it_is_refused():
    message = (
        r"changes \['kernel_size'\] of TransformerConfig, which has no such options; .*encoder"
    )
    with pytest.raises(ConfigError, match=message):
        _student(encoder={"kernel_size": 3}).prepare(model_of("base"))


def test_prepare_when_a_value_is_out_of_range_then_it_is_refused():
    with pytest.raises(ConfigError, match="dim=33.*expected positive numbers"):
        _student(encoder={"dim": 33}).prepare(model_of("base"))


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("layers", "two", "int"),
        ("layers", 2.5, "int"),
        ("layers", None, "int"),
        ("layers", True, "int"),
        ("dropout", "0.1", "float"),
        ("random_depth", [1, 2.5], r"list\[int\] \| None"),
    ],
)
def test_prepare_when_a_value_has_a_wrong_type_then_it_is_refused(name, value, kind):
    message = f"student changes {name} of TransformerConfig to .*, expected {kind}; change comp"
    with pytest.raises(ConfigError, match=message):
        _student(encoder={name: value}).prepare(model_of("base"))


@pytest.mark.parametrize(
    "options", [{"dropout": 0}, {"random_depth": [1, 2]}, {"norm": "pre"}, {"relative_bias": True}]
)
def test_prepare_when_values_have_the_options_types_then_they_are_taken(options):
    student = _student(encoder=options).prepare(model_of("base"))
    (name,) = options
    assert getattr(student.encoder.config, name) == options[name]


def test_prepare_when_a_part_does_not_keep_its_config_then_it_is_refused():
    model = model_of("base")
    del model.encoder.config
    message = "cannot rebuild TransformerEncoder, which does not keep its config; choose a model"
    with pytest.raises(ConfigError, match=message):
        _student(encoder={"layers": 1}).prepare(model)


@pytest.mark.parametrize("plan", [{}, {"encoder": {}}, {"encoder": {}, "frontend": {}}, {"x": 1}])
def test_restructure_when_the_plan_does_not_fit_then_it_is_refused(plan):
    with pytest.raises(PlanError, match="expected options of encoder and frontend; use the plan"):
        _student(encoder={"layers": 1}).restructure(model_of("base"), plan)


def test_config_when_the_start_is_unknown_then_it_is_refused():
    with pytest.raises(ConfigError, match="start='pupil', expected teacher or random; change comp"):
        StudentConfig(start="pupil")


def test_config_when_a_start_layer_is_negative_then_it_is_refused():
    with pytest.raises(ConfigError, match=r"start_layers=\[1, -1\], expected layers from 0"):
        StudentConfig(start_layers=[1, -1])
