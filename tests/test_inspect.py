"""`inspect` says in sentences what was done to a picture."""

import io
import json
import struct
import sys
import zlib

import pytest
from PIL import EpsImagePlugin, Image
from PIL.PngImagePlugin import PngInfo

from corrector.cli.commands import main
from corrector.correction.record import RECORD_KEY, record_of

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
    outcomes = [
        {"name": f"axis {i}", "hash": "0a1b2c3d4e", "corrected": not why, "reason": why}
        for i, why in enumerate(reasons)
    ]
    return {"outcome": "", "strength": strength, "target": target, "preferences": outcomes}


def test_a_corrected_picture_and_one_left_alone(inspected):
    assert inspected(**{RECORD_KEY: json.dumps(record_of([correction("")]))}) == [
        "The picture was corrected (preference axis 0 [0a1b2c3d4e], strength 1)."
    ]
    assert inspected(**{RECORD_KEY: json.dumps(record_of([correction(WHY, strength=0.5, target=0.4)]))}) == [
        f"The picture was left alone, because {WHY} (preference axis 0 [0a1b2c3d4e], strength 0.5, target 0.4)."
    ]


def test_stages_are_numbered_and_each_preference_has_a_sentence(inspected):
    said = inspected(**{RECORD_KEY: json.dumps(record_of([correction("", WHY), correction("")]))})
    assert [line.partition(" (")[0] for line in said] == [
        "Correction 1: The picture was corrected",
        f"Correction 1: The picture was left alone, because {WHY}",
        "Correction 2: The picture was corrected",
    ]


def test_a_plain_picture_carries_nothing(inspected):
    (said,) = inspected(prompt="{}", workflow="{}")
    assert said.startswith("The picture carries nothing of RS-Corrector")


def test_the_infotext_of_a_webui_in_png_jpeg_and_webp(inspected, tmp_path, capsys):
    wanted = [
        "The result was: left alone, the prompt asks for a village.",
        "The settings were: preference backdrop [0a1b2c3d4e], strength 1.5, target 1.",
    ]
    assert inspected(parameters=INFOTEXT) == wanted
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"UNICODE\0" + INFOTEXT.encode("utf-16-be")}
    for suffix in ("jpg", "webp"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"picture.{suffix}", exif=exif)
        main(["inspect", str(tmp_path / f"picture.{suffix}")])
        assert capsys.readouterr().out.splitlines() == wanted


def test_an_infotext_of_any_length_is_read_in_linear_time(inspected):
    (said,) = inspected(parameters="RS-Corrector " * 50_000)
    assert said.startswith("The picture carries nothing of RS-Corrector")


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
        inspected(**{RECORD_KEY: record})


def picture_bytes(kind, size=(64, 64), **options):
    file = io.BytesIO()
    Image.effect_noise(size, 9).save(file, kind, **options)
    return file.getvalue()


def refusal(path, data):
    """What `inspect` says about a file that it refuses."""
    path.write_bytes(data)
    with pytest.raises(SystemExit) as refused:
        main(["inspect", str(path)])
    return str(refused.value)


def test_files_that_are_no_pictures_are_refused_in_a_sentence(tmp_path):
    for name, data in {"text.png": b"text", "noise.png": bytes(range(100, 164)), "empty.jpg": b""}.items():
        assert "it is no picture, and a PNG, JPEG or WebP picture is expected" in refusal(tmp_path / name, data)
    for kind in ("png", "jpeg", "webp"):
        said = refusal(tmp_path / f"cut.{kind}", picture_bytes(kind)[:300])
        assert f"it is a damaged {kind.upper()} picture" in said
    with pytest.raises(SystemExit, match=r"missing\.png"):
        main(["inspect", str(tmp_path / "missing.png")])


@pytest.mark.parametrize("suffix", ("eps", "png"))
def test_a_picture_of_another_format_is_refused_by_name_and_starts_no_program(suffix, tmp_path, monkeypatch):
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # not searched for yet
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    said = refusal(tmp_path / f"picture.{suffix}", postscript)
    assert "a picture in the format EPS, and a PNG, JPEG or WebP picture is expected" in said
    assert not (tmp_path / "started").exists()
    assert "a picture in the format GIF" in refusal(tmp_path / "picture.gif", picture_bytes("gif"))


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(*chunks, size=(8, 8)):
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def test_texts_after_the_pixels_of_a_picture_of_any_size_are_read(tmp_path, capsys):
    """No pixel is decoded: there are none."""
    text = chunk(b"tEXt", b"parameters\0" + INFOTEXT.encode())
    (tmp_path / "huge.png").write_bytes(png_of(chunk(b"IDAT", b"pixels"), text, size=(2**31 - 1, 2**31 - 1)))
    main(["inspect", str(tmp_path / "huge.png")])
    assert capsys.readouterr().out.startswith("The result was: left alone")


def test_pictures_beyond_the_limits_are_refused_in_a_sentence(tmp_path):
    path = tmp_path / "picture.png"
    assert "more than 100000 chunks" in refusal(path, png_of(chunk(b"IDAT", b"") * 100_001))
    text = chunk(b"tEXt", b"workflow\0" + bytes(2**25))
    assert "a text in its metadata has 32768 KB, and at most 16384 KB" in refusal(path, png_of(text))
    compressed = chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(2**25)))
    assert "it is a damaged PNG picture" in refusal(path, png_of(compressed))
    assert "its EXIF data has" in refusal(path, png_of(chunk(b"eXIf", bytes(2**17))))
    segment = b"\xff\xe1\0\x12Exif\0\0abcdefghij"
    assert "it is a damaged JPEG picture" in refusal(path, b"\xff\xd8" + segment * 2**20)
    with open(path, "wb") as file:
        file.truncate(2**27 + 1)
    with pytest.raises(SystemExit, match="at most 128 MB are expected"):
        main(["inspect", str(path)])
