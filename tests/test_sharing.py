"""A preference file that is shared: what other programs read in its header, its thumbnail, and its model card."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import corrector
from corrector.cli.commands import main
from corrector.files.folders import WEIGHTS
from corrector.latents.skin import to_uint8
from corrector.learning.report import SOFTWARE
from corrector.learning.thumbnail import LARGEST, thumbnail
from corrector.miniature.host import Miniature
from corrector.pages.charts import png
from corrector.pages.templates import markdown
from corrector.preference.calibration import Calibration
from corrector.preference.file import PreferenceFileError, load_preference, load_preferences, save_preferences
from corrector.preference.preference import Preference
from corrector.preference.updated_file import update_preference
from gaussian_host import GaussianHost


def jpeg(colour):
    """A thumbnail of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def texts_of(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.fixture
def shared(preference, tmp_path):
    """The file of a preference with a thumbnail."""
    preference.thumbnail = jpeg("green")
    save_preferences([preference], tmp_path / "village.safetensors")
    return tmp_path / "village.safetensors"


@pytest.fixture
def two(preference, shared):
    """The same file with a preference of another axis."""
    other = replace(preference.axis, id="other", title="Attire", author="others", licence="CC0-1.0")
    save_preferences([preference, replace(preference, axis=other, thumbnail=jpeg("blue"))], shared)
    return shared


# What other programs read


def test_safetensors_alone_shows_what_the_preference_is(shared):
    texts = texts_of(shared)
    spec = {name.removeprefix("modelspec."): text for name, text in texts.items() if name.startswith("modelspec.")}
    for name, text in dict(
        sai_model_spec="1.0.1", architecture="miniature/preference", implementation="rs-corrector",
        implementation_version=corrector.__version__, title="Village backdrop", author="tests", license="MIT",
        base_model="the miniature", thumbnail=jpeg("green"),
    ).items():  # fmt: skip
        assert spec[name] == text, name
    assert "a city in 99% of pictures, 5% without it (CFG 2)" in spec["description"]
    data = shared.read_bytes()
    tensors = data[8 + int.from_bytes(data[:8], "little") :]
    assert spec["hash_sha256"] == f"0x{hashlib.sha256(tensors).hexdigest()}"


def test_the_description_says_what_is_weak(preference, tmp_path):
    preference.training["weak"] = "its update explains little"
    save_preferences([preference], tmp_path / "weak.safetensors")
    assert "Beware: its update explains little." in texts_of(tmp_path / "weak.safetensors")["modelspec.description"]


def test_the_same_preference_gives_the_same_bytes(preference, tmp_path):
    for name in "abc":
        save_preferences([preference], tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1


def test_every_text_of_the_header_is_under_the_checksum(shared):
    data, length = shared.read_bytes(), int.from_bytes(shared.read_bytes()[:8], "little")
    for name in [name for name in texts_of(shared) if name != "rs_corrector"]:
        header = json.loads(data[8 : 8 + length])
        for change in (lambda texts, name: texts.pop(name), lambda texts, name: texts.update({name: "x"})):
            changed = json.loads(json.dumps(header))
            change(changed["__metadata__"], name)
            written = json.dumps(changed).encode()
            shared.write_bytes(len(written).to_bytes(8, "little") + written + data[8 + length :])
            with pytest.raises(PreferenceFileError, match="its checksum is not that of its content"):
                load_preference(shared)
    written = json.dumps(header, indent=1).encode()  # another program may lay the header out as it likes
    shared.write_bytes(len(written).to_bytes(8, "little") + written + data[8 + length :])
    assert load_preference(shared).thumbnail == jpeg("green")


def test_the_shipped_preferences_have_no_texts_to_lose_and_keep_their_tensors(tmp_path):
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        preferences = load_preferences(path)
        save_preferences(preferences, tmp_path / path.name)
        before, after = load_file(path), load_file(tmp_path / path.name)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


# Thumbnails


def test_each_preference_of_a_file_keeps_its_thumbnail(two):
    assert [preference.thumbnail for preference in load_preferences(two)] == [jpeg("green"), jpeg("blue")]
    texts = texts_of(two)
    assert texts["modelspec.title"] == "Village backdrop; Attire" and texts["modelspec.license"] == "MIT; CC0-1.0"
    assert texts["modelspec.thumbnail"] == jpeg("green")
    covers = [f"data:image/jpeg;base64,{cover}" for cover in json.loads(texts["ssmd_cover_images"])]
    assert covers == [jpeg("green"), jpeg("blue")]


def test_calibrating_again_brings_its_thumbnail_and_figures_into_the_texts(shared):
    measured = replace(
        load_preference(shared), calibrations=(Calibration("Orvane", 7.0, 0.25, 9, 0.5, 9),), thumbnail=jpeg("red")
    )
    update_preference(measured, shared, (7.0,))
    texts = texts_of(shared)
    assert texts["modelspec.thumbnail"] == load_preference(shared).thumbnail == jpeg("red")
    assert "in 50–99% of pictures, 5–25% without it (CFG 2, 7)" in texts["modelspec.description"]


@pytest.mark.parametrize("uri", ["data:text/html;base64,AAAA", "https://example.org/x.jpg", "data:image/jpeg;base64,<"])
def test_a_thumbnail_that_is_no_jpeg_is_refused(preference, tmp_path, uri):
    preference.thumbnail = uri
    with pytest.raises(PreferenceFileError, match="thumbnail"):
        save_preferences([preference], tmp_path / "refused.safetensors")


def test_a_thumbnail_shows_plain_pictures_above_corrected_ones_of_the_same_seeds_and_fits_the_file(tmp_path):
    host, preference = Miniature(), load_preference(WEIGHTS / "miniature-backdrop.safetensors")
    preference.thumbnail = thumbnail(host, preference)
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(preference.thumbnail.partition(",")[2]))))
    assert picture.shape == (2 * 128 + 6, 4 * 128 + 3 * 6, 3)
    prompts = [preference.axis.prompts(group)[0] for group in ("Orvane", "Tavelu", "Quilmari", "Orvane")]
    plain = host.sample(host.encode(prompts), range(4), cfg=2.0)
    above, below = (
        np.stack([picture[top : top + 128, left : left + 128] for left in range(0, 4 * 134, 134)]).astype(np.float32)
        for top in (0, 134)
    )
    assert np.abs(above - to_uint8(host.decode(plain))).mean(axis=(1, 2, 3)).max() < 6, "JPEG loses little"
    sides = [host.reader.read(torch.tensor(row / 127.5 - 1).permute(0, 3, 1, 2))["backdrop"] for row in (above, below)]
    assert sides == [["village", "city", "city", "village"], ["city"] * 4]
    save_preferences([preference], tmp_path / "mine.safetensors")
    assert (tmp_path / "mine.safetensors").stat().st_size < 2e6
    header = int.from_bytes((tmp_path / "mine.safetensors").read_bytes()[:8], "little")
    assert header < 2**20, "ComfyUI reads no longer ones"


def test_pictures_of_noise_are_made_smaller_until_they_fit(axis):
    host = GaussianHost()
    host.decode = lambda latents: 2 * torch.rand(len(latents), 3, 512, 384) - 1
    assert 1000 < len(thumbnail(host, Preference(axis, "miniature", host.world))) <= LARGEST


def test_a_thumbnail_that_cannot_be_drawn_costs_nothing_that_was_learned(axis, caplog):
    host = GaussianHost()

    def no_memory(latents):
        raise torch.OutOfMemoryError("no memory")

    host.decode = no_memory
    assert thumbnail(host, Preference(axis, "miniature", host.world)) == ""
    assert "could not be drawn: no memory" in caplog.text


# Model cards


def published(path, folder):
    main(["publish", str(path), str(folder)])
    return (folder / "README.md").read_text(encoding="utf-8")


def test_a_card_has_the_figures_of_its_file(preference, shared, tmp_path, capsys):
    card = published(shared, tmp_path / "hub")
    assert capsys.readouterr().out.endswith("Nothing was uploaded.\n")
    (calibration,) = preference.calibrations
    (row,) = re.findall(r"^\| Orvane .*$", card, re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["Orvane", "2", "0.050", "0.990", "400 and 400", "+0.10"]
    assert f"SHA-256 of the file: {hashlib.sha256(shared.read_bytes()).hexdigest()}\n" in card
    measured = replace(calibration, base_interval=(0.031, 0.077), tone_drift=-3.2)
    preference.calibrations = (measured,)
    preference.training |= {"weak": "it is *weak*", "version": "0.2.0", "cfg": 7.0}
    preference.training["host"] = {"checkpoint": "40fa22f7", "text encoder": "0e40299f"}
    save_preferences([preference], shared)
    card = published(shared, tmp_path / "again")
    assert "| 0.050 [0.031, 0.077] |" in card
    assert "Beware: it is \\*weak\\*" in card and f"Beware: {markdown(measured.harm)}" in card
    assert "fingerprint 40fa22f7 0e40299f" in card and "With RS-Corrector 0.2.0" in card and "at CFG 7," in card


def test_a_card_begins_with_what_a_hub_reads(two, tmp_path):
    _, front, text = published(two, tmp_path / "hub").split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": "other", "library_name": "rs-corrector", "pipeline_tag": "text-to-image",
        "tags": ["rs-corrector", "bias", "stereotypes"],
    }  # fmt: skip
    assert text.startswith("\n# Village backdrop; Attire\n")


def test_a_published_folder_holds_the_file_its_pictures_and_its_report(two, tmp_path):
    report = two.with_suffix(".png")
    report.write_bytes(png(np.zeros((4, 4, 3), np.uint8), SOFTWARE))
    folder = tmp_path / "hub"
    card = published(two, folder)
    names = {path.name for path in folder.iterdir()}
    assert names == {"README.md", "village.safetensors", "test.jpg", "other.jpg", "report.png"}
    assert set(re.findall(r"!\[[^]]*\]\(([^)]*)\)", card)) == {"test.jpg", "other.jpg", "report.png"}
    assert (folder / "village.safetensors").read_bytes() == two.read_bytes()
    assert (folder / "other.jpg").read_bytes() == base64.b64decode(jpeg("blue").partition(",")[2])
    report.write_bytes(png(np.zeros((4, 4, 3), np.uint8)))  # the artist's own
    assert "report.png" not in published(two, tmp_path / "second")


def test_a_preference_without_thumbnail_and_calibration_has_a_card_that_says_so(preference, shared, tmp_path):
    save_preferences([replace(preference, calibrations=(), training={}, thumbnail="")], shared)
    card = published(shared, tmp_path / "hub")
    assert "It is not calibrated, so how well it works is unknown." in card and "![" not in card
    assert "fingerprint not recorded" in card and "of a version that was not recorded" in card


def test_a_folder_with_other_files_is_refused_and_stays_as_it_is(shared, tmp_path):
    folder = tmp_path / "hub"
    (folder / ".git").mkdir(parents=True)
    published(shared, folder)
    (folder / "README.md").write_text("mine")
    with pytest.raises(SystemExit, match=r"the folder holds other files \(README\.md\).*name an empty or a new one"):
        published(shared, folder)
    assert (folder / "README.md").read_text() == "mine"
    with pytest.raises(SystemExit, match="this is a file; name a folder for the model card"):
        published(shared, shared)
    with pytest.raises(SystemExit, match="no such file"):
        published(tmp_path / "none.safetensors", tmp_path / "new")
    assert not (tmp_path / "new").exists()


HOSTILE = "</p><script>x</script> [a](javascript:x) `b` | c\n# d ![e](f) *g* __h__ &lt; it's"


def test_texts_of_an_axis_are_only_texts_in_its_card(preference, shared, tmp_path):
    assert markdown(HOSTILE) == (
        "&lt;/p&gt;&lt;script&gt;x&lt;/script&gt; \\[a\\](javascript:x) \\`b\\` \\| c # d !\\[e\\](f) \\*g\\* "
        "\\_\\_h\\_\\_ &amp;lt; it's"
    )
    side = replace(preference.axis.counter, description=HOSTILE)
    source = {"title": HOSTILE, "identifier": HOSTILE}
    preference.axis = replace(
        preference.axis, title=HOSTILE, author=HOSTILE, licence=HOSTILE, scope=HOSTILE, counter=side, sources=(source,)
    )
    preference.training = {"weak": HOSTILE, "version": HOSTILE, "host": {"checkpoint": HOSTILE}}
    save_preferences([preference], shared)
    card = published(shared, tmp_path / "hub")
    front = card.split("---\n", 2)[1]
    assert yaml.safe_load(front)["license"] == HOSTILE.lower()
    escaped = str(markdown(HOSTILE))
    assert card.count(escaped) >= 9
    assert "<" not in card.replace(front, "") and "![e](f)" not in card.replace(front, "")
