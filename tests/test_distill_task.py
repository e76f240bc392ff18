"""task=distill and `scoresde.distill`: folders, teachers, what is refused, what is told of the two."""

import importlib.util
import inspect
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from commands import DIGITS, ROOT, Quiet, command
from problems import refuses

import scoresde
from scoresde.denoiser import FlowMap
from scoresde.making import node_of
from scoresde.sampling import Jump, Renoise
from scoresde.sampling.fitting import jumps
from scoresde.sampling.fitting.jumps import REFERENCE
from scoresde.students import METHODS, taught_by

TINY = ("train.steps=2", "train.batch_size=8", "train.validate_every=2", "train.checkpoint_every=1", "train.warmup=0")
CLASS = "scoresde.objectives."


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a trained teacher, told labels, and a student of it in 2 steps of training."""
    home = tmp_path_factory.mktemp("distilled")
    with pytest.MonkeyPatch.context() as patch:
        code, _, err = command(patch, Quiet(), home, *DIGITS, "cond=[label]", "task=train", "folder=runs/teacher")
        assert code == 0, err
        words = ("task=distill", "teacher=runs/teacher", "method=consistency", "task.guidance=[1,4]", *TINY)
        code, _, err = command(patch, Quiet(), home, *words)
        assert code == 0, err
    return home


@pytest.fixture
def say(home, monkeypatch, capfd):
    return lambda *words: command(monkeypatch, capfd, home, *words)


def student_of(home, method="consistency"):
    (found,) = (home / "runs").glob(f"distill-{method}-vp-digits-*")
    return found


def told(folder):
    return json.loads((folder / "model.json").read_text())


def one_line(code, err, *said):
    assert code == 1 and err.startswith("error: ") and err.count("\n") == 1 and all(s in err for s in said), err


def test_methods_of_the_command_line_are_those_of_python():
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "conf" / "method").glob("*.yaml")}
    assert files.keys() == METHODS.keys()
    for name, file in files.items():
        how, node = METHODS[name], dict(file["method"])
        assert node.pop("_target_") == CLASS + how.objective.__name__, name
        parameters = inspect.signature(how.objective).parameters.items()
        defaults = {k: node_of(p.default) for k, p in parameters if k not in ("student", "data", "teacher")}
        assert node == defaults | node_of(dict(how.settings)) and file["train"] == node_of(dict(how.training)), name


def test_a_student_lies_beside_its_teacher_and_knows_it(home):
    folder, teacher = student_of(home), scoresde.load(home / "runs" / "teacher")
    known = told(folder)
    about = {"folder": str(home / "runs" / "teacher"), "weights": teacher.weights, "step": 4}
    assert known["teacher"]["weights"] == about["weights"] and known["teacher"]["step"] == 4
    assert known["denoiser"] == {"_target_": "scoresde.denoiser.FlowMap", "lands": "data"}
    assert known["objective"] == {"_target_": CLASS + "Consistency", "grows": 800} and known["loss"] is None
    assert known["net"] == told(home / "runs" / "teacher")["net"] and known["cond"] == {"label": 0.1}
    student = scoresde.load(folder)
    assert isinstance(student.bare, FlowMap) and student.conditions.keys() == {"label", "guidance"}
    assert student.step == 2 and student.levels == teacher.levels and student.moments is not None


def test_it_closes_with_the_student_beside_its_teacher(home):
    (run,) = student_of(home).glob("distill-teacher-*")
    found = json.loads((run / "summary.json").read_text())
    assert found["task"] == "distill" and found["weights"] == scoresde.load(student_of(home)).weights
    assert found["distance_1"] > 0 and "distance_2" not in found  # noise in between leaves the trajectory
    for steps in (1, 2, 4):
        assert found[f"energy_{steps}_low"] < found[f"energy_{steps}"] < found[f"energy_{steps}_high"]
        assert found[f"teacher_adams_{steps}"] > 0 and found[f"seconds_{steps}"] > 0
    assert (run / "student.png").stat().st_size > 500 and (run / "metrics.jsonl").exists()
    page = (student_of(home) / "report.html").read_text()
    assert "Student and teacher" in page and "data:image/png" in page


def test_a_student_that_is_trained_is_left_as_it_is_and_more_steps_go_on(say, home, tmp_path):
    folder, before = student_of(home), told(student_of(home))
    weights = scoresde.load(folder).weights
    code, out, err = say("task=distill", "teacher=runs/teacher", "task.guidance=[1,4]", *TINY)
    assert code == 0 and scoresde.load(folder).weights == weights and told(folder) == before, err
    shutil.copytree(folder, home / "more")
    code, out, err = say("task=distill", "folder=more", "train.steps=3")
    assert code == 0 and scoresde.load(home / "more").step == 3, err
    assert told(home / "more") | {"train": 0} == before | {"train": 0}
    shutil.rmtree(home / "more")


def test_a_moved_student_draws_without_its_teacher(say, home, tmp_path):
    shutil.copytree(student_of(home), tmp_path / "student")
    words = ("folder=" + str(tmp_path / "student"), "n=4", "given.label=3", "given.guidance=2", "gif=false")
    code, out, err = say(*words, "task=sample")
    (run,) = (tmp_path / "student").glob("sample-renoise-*")
    assert code == 0 and "2 evaluations" in out, err  # by the sampler that it was made for
    found = np.load(run / "samples.npy")
    model = scoresde.load(tmp_path / "student")
    again = model.generate(4, cond={"label": 3, "guidance": 2.0})
    assert np.array_equal(found, again.numpy())
    assert torch.equal(again, model.generate(4, Renoise(steps=2), cond={"label": 3, "guidance": 2.0}))
    code, out, err = say(*words, "task=sample", "sampler.steps=3")
    assert code == 0 and "3 evaluations" in out, err
    code, out, err = say("folder=" + str(tmp_path / "student"), "task=distill", "train.steps=3")
    assert code == 0, err  # a teacher of its folder's name is where it was
    (home / "runs" / "teacher").rename(home / "away")
    try:
        code, out, err = say("folder=" + str(tmp_path / "student"), "task=distill", "train.steps=4")
        one_line(code, err, "is not there")
    finally:
        (home / "away").rename(home / "runs" / "teacher")


def test_a_denoiser_that_is_told_its_guidance_draws_as_in_python(say, home):
    words = ("method=guidance", "teacher=runs/teacher", "task.guidance=[1,4]", "folder=led", *TINY)
    code, out, err = say("task=distill", *words)
    assert code == 0, err
    code, out, err = say("folder=led", "task=sample", "n=3", "given.label=3", "given.guidance=2", "gif=false")
    assert code == 0 and "21 evaluations" in out, err
    (run,) = (home / "led").glob("sample-dpmpp_2m-*")
    wanted = scoresde.load(home / "led").generate(3, cond={"label": 3, "guidance": 2.0})
    assert np.array_equal(np.load(run / "samples.npy"), wanted.numpy())
    shutil.rmtree(home / "led")


REFUSED = [
    ("sampler=jump sampler.steps=2", "sampler.steps=2"),
    ("sampler=jump", "say steps=1, or sampler=renoise"),
    ("given.guidance=9", "numbers from 1 to 4"),
    ("given.label=3 given.guidance=9", "numbers from 1 to 4"),
    ("task=train train.steps=9", "task=distill"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[w for w, _ in REFUSED])
def test_what_a_student_never_learned_is_one_line(say, home, words, said):
    folder = student_of(home)
    before = sorted(folder.rglob("*"))
    task = [] if "task=" in words else ["task=sample", "n=3"]
    code, out, err = say(f"folder={folder}", *task, *words.split())
    one_line(code, err, said)
    assert sorted(folder.rglob("*")) == before


WRONG = [
    ("teacher=nowhere", "teacher=nowhere: there is no trained model"),
    ("", "teacher=null: method=consistency needs one"),
    ("teacher=judge", "teacher=judge holds a classifier: give the folder of a denoiser"),
    ("teacher=runs/teacher data.seed=3", "teacher=runs/teacher was trained on other data"),
    ("teacher=runs/teacher method=unheard", "method=unheard"),
    ("teacher=runs/teacher method.first=1", "method.first=1"),
    ("teacher=runs/teacher task.guidance=[4,1]", "task.guidance=[4, 1]: give two scales that rise"),
    ("teacher=runs/teacher method=guidance", "give guidance=(1, 4)"),
    ("teacher=runs/teacher sde=ve", "a student has the parts of its teacher"),
    ("folder=runs/teacher", "holds no model of few steps"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[w for w, _ in WRONG])
def test_a_wrong_teacher_is_one_line_and_leaves_nothing(say, home, words, said):
    if "judge" in words and not (home / "judge").exists():
        code, _, err = say(*DIGITS, "task=classifier", "task.folder=judge", "task.channels=8", "task.mults=[1]")
        assert code == 0, err
    before = sorted(path for path in home.rglob("*") if "__pycache__" not in str(path))
    code, out, err = say("task=distill", *words.split(), *([] if "folder=" in words else TINY))
    one_line(code, err, said)
    assert sorted(path for path in home.rglob("*") if "__pycache__" not in str(path)) == before


def test_a_teacher_that_has_changed_since_is_refused(say, home, tmp_path):
    shutil.copytree(home / "runs", tmp_path / "runs")
    teacher, folder = tmp_path / "runs" / "teacher", tmp_path / "runs" / student_of(home).name
    code, _, err = say(f"folder={teacher}", "task=train", "train.steps=5")
    assert code == 0, err
    code, _, err = say(f"folder={folder}", f"teacher={teacher}", "task=distill", "train.steps=4")
    one_line(code, err, "it has other weights", "put them back, or say fresh=true")


def test_data_alone_are_enough_for_some(say, home):
    words = ("task=distill", "method=meanflow", *DIGITS, *TINY, "folder=alone")
    code, out, err = say(*words)
    assert code == 0 and "of data alone" in out, err
    known, student = told(home / "alone"), scoresde.load(home / "alone")
    assert "teacher" not in known and known["denoiser"]["lands"] == "any" and student.made
    code, out, err = say("folder=alone", "task=sample", "n=3", "gif=false")
    assert code == 0 and "4 evaluations" in out and list((home / "alone").glob("sample-jump-*")), err
    code, out, err = say("folder=alone", "task=distill", "train.steps=3")
    assert code == 0 and scoresde.load(home / "alone").step == 3, err


def test_the_words_of_a_teacher_are_followed_first(say, home):
    few = [w for w in DIGITS if w[:2] != "n=" and w[:11] != "train.steps"] + ["train.steps=3", "folder=first"]
    first = ",".join(f"'{word}'" for word in few)
    words = ("task=distill", f"teacher=[{first}]", "method=scm", "folder=second", *TINY)
    code, out, err = say(*words)
    assert code == 0 and scoresde.load(home / "first").step == 3, err
    assert told(home / "second")["teacher"]["weights"] == scoresde.load(home / "first").weights


def test_a_strangers_folder_names_nothing_of_ours_that_is_no_denoiser_or_objective(say, home, tmp_path):
    for change in (
        {"denoiser": {"_target_": "scoresde.nets.MLP", "lands": "data"}},
        {"denoiser": {"_target_": "os.system", "lands": "data"}},
        {"objective": {"_target_": "scoresde.nets.MLP"}},
        {"objective": {"_target_": "scoresde.objectives.Consistency", "first": {"_target_": "os.system"}}},
    ):
        shutil.rmtree(tmp_path / "student", ignore_errors=True)
        shutil.copytree(student_of(home), tmp_path / "student")
        (tmp_path / "student" / "model.json").write_text(json.dumps(told(student_of(home)) | change))
        code, out, err = say(f"folder={tmp_path / 'student'}", "task=sample", "n=2", "gif=false")
        one_line(code, err, "trust")
        if "denoiser" in change:
            refuses("trust", call=lambda: scoresde.load(tmp_path / "student"))


# -- from Python -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def points():
    torch.manual_seed(0)
    data = scoresde.data.as_data(torch.randn(64, 2) * torch.tensor([1.0, 0.5]))
    denoiser = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16, blocks=1), scoresde.VP())
    return scoresde.train(denoiser, data, steps=2, batch_size=8, progress=False), data


FEW = {"steps": 2, "batch_size": 8, "warmup": 0, "validate_every": 2}
FASTER = {"knowledge": {"n": 16}, "reflow": {"n": 16}, "dmd": {"pairs": 16}, "progressive": {"stage": 1, "first": 4}}


@pytest.mark.parametrize("method", [name for name in METHODS if name != "guidance"])
def test_every_method_trains_a_student_from_python(points, method, tmp_path):
    teacher, data = points
    folder = tmp_path / "student"
    options = {"folder": folder, "training": FEW, "progress": False, **FASTER.get(method, {})}
    student = scoresde.distill(teacher, data, method, **options)
    assert torch.equal(scoresde.load(folder).generate(3), student.generate(3))
    known = told(folder)
    wanted = "start" if METHODS[method].teacher == "begins" else "teacher"
    assert known[wanted]["weights"] == teacher.weights and ("teacher" in known) == (wanted == "teacher")
    assert known["train"]["lr"] == METHODS[method].training["lr"]


def test_a_student_that_is_told_where_it_lands_and_w_comes_back_from_its_folder(home, tmp_path):
    """Its network reads the two in one order, whichever of them an item comes with."""
    teacher, folder = scoresde.load(home / "runs" / "teacher"), tmp_path / "student"
    options = {"guidance": (1.0, 4.0), "training": FEW, "progress": False, "folder": folder}
    student = scoresde.distill(teacher, scoresde.data.digits(), "shortcut", **options)
    cond = {"label": 3, "guidance": 2.0}
    assert torch.equal(scoresde.load(folder).generate(2, cond=cond), student.generate(2, cond=cond))


def test_python_refuses_in_a_line(points):
    teacher, data = points
    refuses("did you mean consistency?", call=lambda: scoresde.distill(teacher, data, "consistent"))
    refuses("data=None", call=lambda: scoresde.distill(teacher))
    refuses("method=consistency needs one", call=lambda: scoresde.distill(None, data))
    refuses("method=scm without a teacher needs one, a FlowMap", call=lambda: scoresde.distill(None, data, "scm"))
    refuses("takes no conditions", call=lambda: scoresde.distill(teacher, data, guidance=(1.0, 4.0)))
    assert taught_by(METHODS["ect"], teacher) is None and taught_by(METHODS["scm"], teacher) is teacher


def test_a_student_of_ones_own_network_has_an_exact_teacher():
    mixture = scoresde.exact.GaussianMixture(torch.ones(2), torch.eye(2).double(), 0.1, scoresde.VP())
    student = FlowMap(scoresde.nets.MLP((2,), width=16, blocks=1), scoresde.VP(), "v", "data")
    data = scoresde.data.as_data(mixture.sample(64).float())
    found = scoresde.distill(mixture.float(), data, student=student, training=FEW, progress=False)
    assert found.generate(3, Jump(steps=1)).shape == (3, 2)


def test_the_example_prints_how_far_students_end_from_the_exact_flow(capsys):
    spec = importlib.util.spec_from_file_location("few_steps", ROOT / "examples" / "few_steps.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    found = example.main(["--steps", "2", "--n", "20", "--methods", "consistency", "shortcut"])
    assert "shortcut" in capsys.readouterr().out and found["consistency"][1:] == ["-", "-"]
    own = [float(value) for value in found["teacher's own ddim"]]
    assert own[0] > own[1] > own[2] > 0.05  # its steps of DDIM come nearer with each


# -- tune --------------------------------------------------------------------------------------------------------------


def test_tune_finds_times_by_the_teachers_flow_and_by_held_out_items(points):
    teacher, data = points
    items = data.encode(torch.stack([data.test[i] for i in range(len(data.test))]))
    student = scoresde.distill(teacher, data, "shortcut", training=FEW, progress=False)
    trials = scoresde.tune(student, 3, (16, 2), teacher=teacher, items=items)
    assert {t.name for t in trials} == {"jump"} and trials == sorted(trials, key=lambda t: t.error)
    x = scoresde.sample(student, trials[0].sampler, (16, 2), dtype=torch.float32)
    ends = scoresde.sample(teacher, REFERENCE, (16, 2))
    assert trials[0].rms == pytest.approx(float((x - ends).square().mean().sqrt()), rel=1e-4)
    found = min(trials, key=lambda t: t.grid != "its own")
    assert len(found.sampler.times(teacher.sde)) == 4 and found.sampler.times(teacher.sde)[0] == teacher.sde.t_max
    other = scoresde.distill(teacher, data, "consistency", training=FEW, progress=False)
    trials = scoresde.tune(other, 2, (16, 2), items=items)
    assert {t.name for t in trials} == {"renoise"} and all(t.rms == t.median >= 0 for t in trials)
    refuses("by its teacher, or by held-out items", call=lambda: scoresde.tune(other, 2, (16, 2)))
    chain = scoresde.distill(teacher, data, "progressive", training=FEW, progress=False, stage=1, first=4, last=2)
    refuses("its own: there is nothing to tune", call=lambda: scoresde.tune(chain, 2, (16, 2), items=items))


def test_the_search_of_times_moves_to_the_best(points):
    """Of a law with a known best time: the distance is that of the middle time from 0.3 of the angles."""
    teacher, data = points

    class Far:
        denoiser = teacher

        def __call__(self, name, grid, sampler):
            middle = jumps._shares(teacher.sde, sampler.times(teacher.sde))[1]
            return jumps.Tried(name, grid, sampler, abs(middle - 0.3), abs(middle - 0.3))

    first = Far()("jump", "uniform_angle", Jump(steps=2))
    assert first.rms == pytest.approx(0.2, abs=1e-3)
    assert jumps._moved(Far(), first, lambda tried: None).rms < 0.021


def test_a_student_is_tuned_from_the_command_line(say, home):
    folder = student_of(home)
    code, out, err = say(f"folder={folder}", "task=tune", "task.budgets=[2]", "task.n=8")
    assert code == 0 and "sampler=tuned sampler.budget=2" in out, err
    known = json.loads((folder / "tuned.json").read_text())["samplers"]["2"]["sampler"]
    assert known["_target_"] == "scoresde.sampling.Renoise" and known["steps"] == 2
    code, out, err = say(f"folder={folder}", "task=sample", "sampler=tuned", "sampler.budget=2", "n=3", "gif=false")
    assert code == 0 and "2 evaluations" in out, err
