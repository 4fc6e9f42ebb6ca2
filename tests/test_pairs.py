"""Pairs on disk: kept as they come, the same after any interruption, and never of two checkpoints."""

import json
import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from corrector.learning import store as store_module
from corrector.learning.pairs import make_pairs
from corrector.learning.store import PairError, check_room

ROOT = Path(__file__).resolve().parents[1]
SHAPE = (4, 2, 2)


class Host:
    """Latents that depend on prompt and seed only; counts what it samples."""

    shape, batch = SHAPE, 50

    def __init__(self, checkpoint="one", broken=(), pause=0.0):
        self.identity, self.broken, self.pause, self.sampled = {"checkpoint": checkpoint}, broken, pause, []

    def encode(self, prompts):
        return prompts

    def sample(self, conditioning, seeds, cfg, steps):
        time.sleep(self.pause)
        self.sampled += seeds
        draws = [
            torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed + len(prompt)))
            for seed, prompt in zip(seeds, conditioning, strict=True)
        ]
        for index in range(len(seeds)):
            if len(self.sampled) - len(seeds) + index in self.broken:
                draws[index][0, 0, 0] = float("nan")
        return torch.stack(draws)

    def decode(self, latents):
        return latents[:, :3].clamp(-1, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)


def same(first, second):
    columns = [[made.latents, made.lightness.nan_to_num(-1), made.seeds] for made in (first, second)]
    return all(map(torch.equal, *columns))


def make(host, axis, folder=None, **options):
    return make_pairs(host, axis, **{"count": 7, "seed": 3, "batch": 2, "folder": folder, **options})


def test_pairs_in_a_folder_are_those_made_without_one_and_nothing_is_made_twice(axis, tmp_path):
    first, second = Host(), Host()
    made = make(first, axis, tmp_path / "store")
    assert same(made, make(Host(), axis))
    assert same(made, make(second, axis, tmp_path / "store")) and not second.sampled


def test_stopped_between_any_two_batches_it_goes_on_and_gives_the_same(axis, tmp_path):
    whole = make(Host(), axis)
    for stop in (1, 4, 13):
        folder, calls = tmp_path / str(stop), []

        def progress(latents, stop=stop, calls=calls):
            calls.append(len(latents))
            if len(calls) == stop:
                raise KeyboardInterrupt

        first, second = Host(), Host()
        with pytest.raises(KeyboardInterrupt):
            make(first, axis, folder, progress=progress)
        assert same(make(second, axis, folder), whole)
        assert len(first.sampled) + len(second.sampled) == 2 * 2 * 7


@pytest.mark.parametrize("options", [{"count": 12}, {"count": 12, "batch": 3}, {"batch": 5}, {"count": 4, "batch": 9}])
def test_more_pairs_or_another_batch_size_go_on_from_those_that_are_there(axis, tmp_path, options):
    first, second, fresh = Host(), Host(), Host()
    made = make(first, axis, tmp_path)
    more = make(second, axis, tmp_path, **options)
    assert same(more, make(fresh, axis, **options))
    count = options.get("count", 7)
    assert len(second.sampled) == 2 * 2 * max(0, count - 7)
    assert torch.equal(more.latents[:, :, :7], made.latents[:, :, :count])


def test_a_lost_shard_among_others_is_drawn_again_whatever_the_batch_size(axis, tmp_path):
    whole, second = make(Host(), axis, tmp_path), Host()
    (tmp_path / "01-counter-00002.safetensors").unlink()
    assert same(make(second, axis, tmp_path, batch=50), whole)
    assert len(second.sampled) == 2


def test_killed_at_each_step_of_each_write_it_keeps_all_that_was_finished(axis, tmp_path, monkeypatch):
    whole = make(Host(), axis, batch=1)
    steps = {"save": (store_module, "save"), "fsync": (os, "fsync"), "replace": (Path, "replace")}

    class Killed(BaseException):
        pass

    for number, step in enumerate(sorted(steps) * 3):
        folder, at, count = tmp_path / str(number), (1, 2, 11)[number // 3], 0

        def kill(real, step=step, at=at):
            def call(*arguments, **options):
                nonlocal count
                count += 1
                if count == at:
                    if step == "fsync":
                        os.ftruncate(arguments[0], 4)  # half written
                    raise Killed
                return real(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(*steps[step], kill(getattr(*steps[step])))
            first = Host()
            with pytest.raises(Killed):
                make(first, axis, folder, batch=1)
        second = Host()
        assert same(make(second, axis, folder, batch=1), whole)
        assert len(first.sampled) + len(second.sampled) <= 2 * 2 * 7 + 1


def test_pictures_of_other_settings_are_refused_by_name_and_never_mixed(axis, tmp_path):
    make(Host(), axis, tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["checkpoint"] == "one" and settings["seed"] == 3
    for name, host, own, options in (
        ("seed", Host(), axis, dict(seed=4)),
        ("cfg", Host(), axis, dict(cfg=3.0)),
        ("steps", Host(), axis, dict(steps=4)),
        ("checkpoint", Host("two"), axis, {}),
        ("axis", Host(), replace(axis, groups=("Orvane", "Quilmari")), {}),
    ):
        with pytest.raises(PairError, match=f'another "{name}".*[Cc]hoose a new folder'):
            make(host, own, tmp_path, **options)


def test_a_folder_that_cannot_be_used_is_refused_with_what_to_do(axis, tmp_path):
    (tmp_path / "holiday.png").write_bytes(b"")
    with pytest.raises(PairError, match=r"holiday.png.*cannot be kept: .*choose another place"):
        make(Host(), axis, tmp_path / "holiday.png")
    with pytest.raises(PairError, match="holds other files"):
        make(Host(), axis, tmp_path)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(PairError, match="cut off or not JSON"):
        make(Host(), axis, tmp_path)


def test_a_full_disk_is_said_and_what_was_made_is_kept(axis, tmp_path, full_disk):
    folder, made = tmp_path / "store", []
    with ExitStack() as stack, pytest.raises(PairError, match=r"disk is full; free some space.*made so far are kept"):

        def progress(latents):
            made.append(latents)
            if len(made) == 4:
                stack.enter_context(full_disk())

        make(Host(), axis, folder, progress=progress)
    assert len(list(folder.glob("*.safetensors"))) == 4 and not list(folder.glob("*.part"))
    assert same(make(Host(), axis, folder), make(Host(), axis))


def test_pictures_with_nan_are_left_out_with_their_twin_and_counted(axis):
    made = make(Host(broken={3}), axis, count=20)
    assert made.broken == 1 and made.latents.shape[2] == 19 and made.latents.isfinite().all()
    assert made.seeds.shape == (2, 19)


def test_too_many_nan_are_refused_as_soon_as_that_is_known_and_those_pictures_are_made_anew(axis, tmp_path):
    broken, mended = Host(broken=set(range(4, 20))), Host()
    with pytest.raises(PairError, match=r"6 of 80 pictures \(seen in the first 10\) came out.*at most 5%.*float32"):
        make(broken, axis, tmp_path, count=20)
    assert len(broken.sampled) == 10  # of 80: the fifth broken picture is among the tenth
    assert same(make(mended, axis, tmp_path, count=20), make(Host(), axis, count=20))
    assert len(mended.sampled) == 80 - 4


def test_a_group_that_is_mostly_nan_is_refused_by_name_though_all_pictures_together_are_not(axis, tmp_path):
    many = replace(axis, groups=tuple(f"people {index}" for index in range(24)))
    broken = Host(broken=set(range(40, 60)))  # one side of the second group: 20 of 960
    with pytest.raises(PairError, match=r"Only 0 of 20 pairs of people 1 came out without NaN.*leave that group out"):
        make(broken, many, tmp_path, count=20)
    assert len(list(tmp_path.glob("01-stereotype-*"))) == 0 and len(list(tmp_path.glob("01-counter-*"))) == 10


def test_room_on_the_disk_is_checked_before_a_picture_is_drawn(axis, tmp_path):
    make(Host(), axis, tmp_path / "pairs", count=400, batch=200)
    written = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert written == pytest.approx(check_room(tmp_path, axis, 400, SHAPE)[0], rel=0.05)
    with pytest.raises(PairError, match=r"need \d+ MB more, and the disk has \d+ MB free. Free some space"):
        check_room(tmp_path, axis, 10**15, SHAPE)
    with pytest.raises(PairError, match="1 pairs a group are too few"):
        check_room(tmp_path, axis, 1, SHAPE)
