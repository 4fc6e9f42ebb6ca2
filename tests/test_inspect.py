"""`inspect` says in sentences what was done to a picture."""

import io
import json
import sys

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from corrector.cli.commands import main
from corrector.correction.record import KEY, Correction, PreferenceOutcome, record_of

WHY = "the prompt asks for a village"
INFOTEXT = (
    "a portrait, RS-Corrector strength: 9\nNegative prompt: a cat\nSteps: 20, Sampler: Euler, "
    "RS-Corrector preference: backdrop [0a1b2c3d4e], RS-Corrector strength: 1.5, RS-Corrector target: 1, "
    'RS-Corrector result: "left alone, the prompt asks for a village", Version: 1'
)


@pytest.fixture
def inspected(tmp_path, capsys):
    """`inspected(**text)` saves a PNG with these texts -> what `inspect` prints about it."""

    def inspect(**text):
        metadata = PngInfo()
        for key, value in text.items():
            metadata.add_text(key, value)
        Image.new("RGB", (8, 8)).save(tmp_path / "picture.png", pnginfo=metadata)
        main(["inspect", str(tmp_path / "picture.png")])
        return capsys.readouterr().out.splitlines()

    return inspect


def correction(*reasons, strength=1.0, target=1.0):
    outcomes = [PreferenceOutcome(f"axis {i}", "0a1b2c3d4e", not why, why) for i, why in enumerate(reasons)]
    return Correction("", strength, target, tuple(outcomes))


def test_a_corrected_picture_and_one_left_alone(inspected):
    assert inspected(**{KEY: json.dumps(record_of([correction("")]))}) == [
        "The picture was corrected (preference axis 0 [0a1b2c3d4e], strength 1)."
    ]
    assert inspected(**{KEY: json.dumps(record_of([correction(WHY, strength=0.5, target=0.4)]))}) == [
        f"The picture was left alone, because {WHY} (preference axis 0 [0a1b2c3d4e], strength 0.5, target 0.4)."
    ]


def test_stages_are_numbered_and_each_preference_has_a_sentence(inspected):
    said = inspected(**{KEY: json.dumps(record_of([correction("", WHY), correction("")]))})
    assert [line.partition(" (")[0] for line in said] == [
        "Correction 1: The picture was corrected",
        f"Correction 1: The picture was left alone, because {WHY}",
        "Correction 2: The picture was corrected",
    ]


def test_a_plain_picture_carries_nothing(inspected):
    (said,) = inspected(prompt="{}", workflow="{}")
    assert said.startswith("The picture carries nothing of RS-Corrector")


def test_the_infotext_of_a_webui_in_png_and_jpeg(inspected, tmp_path, capsys):
    wanted = [
        "The result was: left alone, the prompt asks for a village.",
        "The settings were: preference backdrop [0a1b2c3d4e], strength 1.5, target 1.",
    ]
    assert inspected(parameters=INFOTEXT) == wanted
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"UNICODE\0" + INFOTEXT.encode("utf-16-be")}
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.jpg", exif=exif)
    main(["inspect", str(tmp_path / "picture.jpg")])
    assert capsys.readouterr().out.splitlines() == wanted


def test_what_the_output_cannot_encode_is_printed_as_question_marks(inspected, monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), "cp1252")  # as of a file on Windows
    monkeypatch.setattr(sys, "stdout", output)
    inspected(parameters=INFOTEXT.replace("village", "\u6751"))
    output.flush()
    assert b"left alone, the prompt asks for a ?.\n" in output.buffer.getvalue()


@pytest.mark.parametrize(
    "record", ("{", "[]", "3", '{"id": "1"}', '{"format": 2}', '{"format": 1, "corrections": [{"strength": 1}]}')
)
def test_a_damaged_or_newer_entry_is_refused_in_a_sentence(inspected, record):
    with pytest.raises(SystemExit, match="is damaged, or another version of RS-Corrector wrote it"):
        inspected(**{KEY: record})


def test_files_that_are_no_pictures_are_refused_in_a_sentence(tmp_path):
    whole = tmp_path / "whole.png"
    Image.effect_noise((64, 64), 9).save(whole)
    files = {"text.png": b"text", "empty.jpg": b"", "cut.png": whole.read_bytes()[:1000]}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SystemExit, match="is not a picture that can be read, or it is damaged"):
            main(["inspect", str(tmp_path / name)])
    with pytest.raises(SystemExit, match=r"missing\.png"):
        main(["inspect", str(tmp_path / "missing.png")])
