import json
import sys
from types import ModuleType

import pytest

from training.metrics_log import MetricsLog
from training.trackers import check_tracker, open_tracker
from utils.cli import UserError

ROW = {"epoch": 4, "lr": 1e-3, "lambdas": [1.0, 2.0, 3.0], "val_video_auc": None, "val_frame_auc": 0.5}
SCALARS = {"lr": 1e-3, "lambdas/0": 1.0, "lambdas/1": 2.0, "lambdas/2": 3.0, "val_frame_auc": 0.5}


class Artifact:
    def __init__(self, name, kind):
        self.name, self.kind, self.files = name, kind, []

    def add_file(self, path):
        self.files.append(path)


@pytest.fixture(params=["wandb", "trackio"])
def service(request, monkeypatch):
    """A module with what wandb and Trackio have in common; it keeps the calls."""
    module = ModuleType(request.param)
    module.calls = []
    for name in ("init", "log", "log_artifact", "finish"):
        setattr(module, name, lambda *args, _call=name, **options: module.calls.append((_call, args, options)))
    module.Artifact = Artifact
    monkeypatch.setitem(sys.modules, request.param, module)
    return module


def record(folder, kind, first_epoch):
    log = MetricsLog(folder, first_epoch, open_tracker(kind, folder, {"seed": 3}, first_epoch))
    log.add(ROW)
    log.close([folder / "args.json"])


def test_a_service_gets_settings_figures_and_the_runs_own_files(service, tmp_path):
    folder = tmp_path / "project" / "lr 1e-3"
    folder.mkdir(parents=True)
    record(folder, service.__name__, 0)
    (_, _, init), (_, logged, step), (_, (report,), _), (last, _, _) = service.calls
    assert (init["project"], init["name"], init["config"]) == ("project", "lr 1e-3", {"seed": 3})
    assert (*logged, step) == (SCALARS, {"step": 4})
    assert (report.name, report.kind) == ("lr-1e-3-report", "report")
    assert report.files == [str(folder / "metrics.jsonl"), str(folder / "args.json")]
    assert last == "finish"


def test_a_resumed_run_continues_its_record(service, tmp_path):
    record(tmp_path, service.__name__, 0)
    record(tmp_path, service.__name__, 4)
    first, second = (options for name, _, options in service.calls if name == "init")
    assert second["resume"] == "allow"
    assert first.get("id") == second.get("id")
    assert (first.get("id") is not None) == (service.__name__ == "wandb")


def test_wandb_without_an_account_is_a_user_error(tmp_path, monkeypatch):
    module = ModuleType("wandb")
    module.Error = type("Error", (Exception,), {})

    def init(**_):
        raise module.Error("No API key configured.")

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    with pytest.raises(UserError, match="wandb login"):
        open_tracker("wandb", tmp_path, {}, 0)


def test_a_missing_package_is_told_before_training(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install trackio"):
        check_tracker("trackio")
    check_tracker("none")
    check_tracker("tensorboard")


def test_tensorboard_holds_settings_and_scalars(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record(tmp_path, "tensorboard", 0)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == set(SCALARS)
    assert [(e.step, e.value) for e in events.Scalars("lambdas/1")] == [(4, 2.0)]
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert json.loads(text.strip("`\n")) == {"seed": 3}


def test_none_writes_metrics_jsonl_alone(tmp_path):
    record(tmp_path, "none", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
