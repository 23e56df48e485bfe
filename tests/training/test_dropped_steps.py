"""What a network drops follows from the step, as all other draws do."""

import pytest

from gcbench.training import train
from gcbench.training.loop import Trainer


class Stopped(Exception):
    pass


def test_resumed_training_drops_what_an_uninterrupted_one_drops(
    recipe_file, data_root, tmp_path, monkeypatch
):
    train(str(recipe_file("tokenizer")), data_root, tmp_path / "whole")
    train(str(recipe_file("tokenizer")), data_root, tmp_path / "broken")
    recipe = str(recipe_file("randar", {"num_classes = 10": "num_classes = 10\ndropout = 0.3"}))
    whole = train(recipe, data_root, tmp_path / "whole")
    step = Trainer._step

    def stops_at_step_3(self, number):
        if number == 3:
            raise Stopped
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stops_at_step_3)
        with pytest.raises(Stopped):
            train(recipe, data_root, tmp_path / "broken")
    assert train(recipe, data_root, tmp_path / "broken").read_bytes() == whole.read_bytes()
