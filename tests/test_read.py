"""`read` says in words what the gates of a file read in prompts."""

import subprocess
import sys
from dataclasses import replace

import pytest

from corrector.cli.commands import main
from corrector.files.errors import visible
from corrector.files.folders import WEIGHTS
from corrector.preference.file import save_preference
from preference_files import small_preference

FILE = str(WEIGHTS / "miniature-backdrop.safetensors")


@pytest.fixture
def read(capsys):
    """`read(prompts)` -> what `read` prints about each."""

    def read(*prompts):
        main(["read", FILE, *prompts])
        *lines, weakness = capsys.readouterr().out.splitlines()
        assert weakness.startswith("miniature-backdrop: its gate on the prompt corrects ")
        assert lines[::2] == [visible(f'"{prompt}"') for prompt in prompts]
        return lines[1::2]

    return read


def test_each_prompt_is_read_with_how_sure_the_gate_is(read):
    named, asked, nobody = read("a portrait of an Orvane person", "an Orvane person in a village", "a cat")
    assert "corrected as Orvane (names Orvane " in named and ", asks for something 0." in named
    assert "left alone, the prompt asks for a village (names Orvane" in asked
    assert "left alone, the prompt names nobody of Orvane, Tavelu, Quilmari" in nobody


def test_words_that_the_axis_lists_are_certain_whatever_the_gate_reads(read):
    asked, denied = read("an Orvane person, skyline", "an Orvane person, no village")
    words = " (in words that the axis lists; from token vectors alone: names Orvane "
    assert f"left alone, the prompt asks for a city{words}" in asked
    assert f"corrected as Orvane{words}" in denied


def test_without_prompts_the_wordings_of_the_axis_that_are_not_read_are_named(capsys):
    main(["read", FILE])
    line, _ = capsys.readouterr().out.splitlines()
    assert line.startswith("miniature-backdrop: ") and "names and wordings of its axis are not read: " in line
    assert '"a portrait of a Orvane person skyline"' in line and "in a village" not in line


def test_the_gate_that_an_axis_has_for_this_text_encoder_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("corrector.hosts.given.cache_folder", lambda name: tmp_path / name)
    main(["read", "miniature-backdrop", "a portrait of an Orvane person", "an Orvane person in a village", "a cat"])
    named, asked, nobody = capsys.readouterr().out.splitlines()[1::2]
    assert "corrected as Orvane (names Orvane " in named and "asks for a village" in asked and "names nobody" in nobody
    assert list((tmp_path / "gates").glob("gate-*.safetensors"))


@pytest.mark.parametrize("command", ["read", "gate"])
def test_commands_that_draw_nothing_have_no_options_of_sampling(command, capsys):
    with pytest.raises(SystemExit):
        main([command, FILE, "--steps", "4"])
    assert "unrecognized arguments: --steps 4" in capsys.readouterr().err


def test_a_reader_that_stops_ends_the_output_without_a_traceback():
    command = [sys.executable, "-m", "corrector", "inspect", FILE]
    with subprocess.Popen(command, cwd=WEIGHTS.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as shell:
        shell.stdout.close()
        said = shell.stderr.read()
    assert shell.returncode == 0 and b"Traceback" not in said and b"BrokenPipe" not in said


@pytest.mark.parametrize("prompt", ["", "a", "🙂🙂", "صورة لرجل", "a\x07b\x1b[31m", "x" * 3000, "a\ud800b\udcff"])
def test_a_prompt_of_any_characters_is_read(read, prompt):
    (line,) = read(prompt)
    assert "left alone, the prompt names nobody of" in line


def test_control_characters_of_prompts_and_files_are_not_printed(axis, tmp_path, capsys):
    axis = replace(axis, title="\x9b31m")
    hostile = replace(small_preference(axis), gate=None, name="\x1b[31m\u202e")
    save_preference(hostile, tmp_path / "hostile.safetensors")
    main(["read", str(tmp_path / "hostile.safetensors"), "\x1b[31m a man"])
    main(["inspect", str(tmp_path / "hostile.safetensors")])
    said = capsys.readouterr().out
    assert "\ufffd[31m a man" in said and "\ufffd31m" in said and not set("\x1b\x9b\u202e") & set(said)


def test_a_request_in_words_of_its_own_is_one(read):
    """In words that the text encoder knows from captions, and in others."""
    villages = (
        "a Quilmari woman, village life", "an Orvane person with huts", "a Tavelu person, hamlet",
        "an Orvane woman in front of her hut", "portrait of an Orvane villager", "a Quilmari person outside a cottage",
        "a Tavelu man, countryside", "Tavelu woman, small settlement, soft light", "an old Quilmari man, farmhouse",
    )  # fmt: skip
    cities = (
        "an Orvane person, city street", "Tavelu woman downtown", "Orvane person by some towers",
        "an Orvane person, urban", "an Orvane woman among skyscrapers", "a Tavelu person in the metropolis",
        "Quilmari man, cityscape, 8k",
    )  # fmt: skip
    assert all("left alone, the prompt asks for a village" in line for line in read(*villages))
    assert all("left alone, the prompt asks for a city" in line for line in read(*cities))
