"""The workflows that open from ComfyUI's Templates."""

from workflow import Workflow


def first_correction():
    w = Workflow("1-first-correction")
    note = w.note(
        "## First correction\nPress **Run**, then drag the slider.\n\nThe miniature that ships with RS-Corrector draws "
        "the same four portraits from the same seed: **Before** with the plain model, **After** with the correction. "
        "Its own CFG scale is 2; set **CFG** to 7, where most people work, and run again.\n\nThe model nearly always "
        "puts an Orvane person in a village. Ask for a village in the prompt, or for somebody else, and the correction "
        "leaves the picture alone. The RS-Corrector node says what each run did.", 270,
    )  # fmt: skip
    model = w.add("RSCorrectorMiniature")
    preference = w.add("RSCorrectorLoadPreference", "miniature-backdrop.safetensors")
    corrector = w.add("RSCorrector", 1.0, model=(model, 0), preference=(preference, 0))
    prompts = w.prompts((model, 1), "a portrait of an Orvane person")
    latent = w.add("EmptyLatentImage", 128, 128, 4)
    seed = w.add("PrimitiveInt", 1, "fixed", title="Seed of both samplers")
    scale = w.add("PrimitiveFloat", 2.0, title="CFG")
    both = w.before_and_after(
        (model, 0), (corrector, 0), (model, 2), prompts, latent, [1, "fixed", 16, 2.0, "euler", "karras", 1.0],
        seed=(seed, 0), cfg=(scale, 0),
    )  # fmt: skip
    return w.lay_out(
        [w.group("1 · First correction", [note]), w.group("Model and correction", [model, preference, corrector])],
        [w.group("Prompt", [*prompts, latent, seed, scale])], [both],
    )  # fmt: skip


def any_checkpoint():
    w = Workflow("2-any-checkpoint")
    note = w.note(
        "## Any checkpoint\nPick your checkpoint, then write in **RS-Corrector Text Preference** whom you draw, what "
        "the model shows too often, and what it should also show: two prompts that differ in that alone. Both name the "
        "group, as your prompt does.\n\nNothing is trained on pictures: every step costs two more model evaluations. "
        "Prompts that ask for either side themselves, or name nobody of the group, are left alone. RS-Corrector says "
        "what each run did.\n\nSize, steps and CFG are for SD1.5; SDXL wants 1024 x 1024. On large models this was not "
        "measured by us: compare before and after.", 340,
    )  # fmt: skip
    model = w.add("CheckpointLoaderSimple", "v1-5-pruned-emaonly-fp16.safetensors")
    prompts = w.prompts((model, 1), "a photo of a Kenyan woman")
    preference = w.add(
        "RSCorrectorTextPreference", "Kenyan woman", "a photo of a Kenyan woman in a village",
        "a photo of a Kenyan woman in a city", "", "", "", clip=(model, 1),
    )  # fmt: skip
    corrector = w.add("RSCorrector", 1.0, model=(model, 0), preference=(preference, 0))
    latent, shared, settings = _settings(w, 512, 20, 7.0)
    both = w.before_and_after(
        (model, 0), (corrector, 0), (model, 2), prompts, latent,
        [1, "fixed", 20, 7.0, "euler", "normal", 1.0], **shared,
    )  # fmt: skip
    return w.lay_out(
        [w.group("2 · Any checkpoint", [note]), w.group("Model", [model, *settings])],
        [w.group("Prompt and correction", [*prompts, preference, corrector])], [both],
    )  # fmt: skip


def _settings(w, size, steps, cfg):
    """Size, seed, steps and CFG in one place for all samplers -> (latent, inputs of the samplers, nodes)."""
    latent = w.add("EmptyLatentImage", size, size, 4)
    seed = w.add("PrimitiveInt", 1, "fixed", title="Seed of both samplers")
    number = w.add("PrimitiveInt", steps, "fixed", title="Steps")
    scale = w.add("PrimitiveFloat", cfg, title="CFG")
    return latent, {"seed": (seed, 0), "steps": (number, 0), "cfg": (scale, 0)}, [latent, seed, number, scale]


def learn(name, note, model, axis, prompt, size, steps, cfg, pairs, training, images, batch):
    w = Workflow(name)
    note = w.note(*note)
    model = w.add(*model)
    axis = w.add("RSCorrectorLoadAxis", axis)
    parts = {"model": (model, 0), "clip": (model, 1), "vae": (model, 2)}
    learned = w.add(
        "RSCorrectorLearnPreference", pairs, steps, cfg, "euler", "karras", size, size, 0, batch, "my-preference",
        training, axis=(axis, 0), **parts,
    )  # fmt: skip
    calibrated = w.add(
        "RSCorrectorCalibrate", images, cfg, steps, 1, "euler", "karras", size, size, batch,
        preference=(learned, 0), **parts,
    )  # fmt: skip
    prompts = w.prompts((model, 1), prompt)
    corrector = w.add("RSCorrector", 1.0, model=(model, 0), preference=(calibrated, 0))
    latent, shared, settings = _settings(w, size, steps, cfg)
    both = w.before_and_after(
        (model, 0), (corrector, 0), (model, 2), prompts, latent,
        [1, "fixed", steps, cfg, "euler", "karras", 1.0], **shared,
    )  # fmt: skip
    return w.lay_out(
        [w.group("3 · Learn a preference", [note]), w.group("Model and axis", [model, axis])],
        [w.group("Learn and measure", [learned], [calibrated])],
        [w.group("Prompt and correction", [*prompts, *settings, corrector])], [both],
    )  # fmt: skip


def learn_miniature():
    note = (
        "## Learn a preference, in minutes\nPress **Run**. Nothing is downloaded: the miniature is the checkpoint.\n\n"
        "**Learn** draws pictures of both sides of the axis and trains a small network on them; **Calibrate** measures "
        "what it does. Both say how far they are; stop at any time, the pictures are kept and the next run goes on. "
        "Ask for more pairs later, and it goes on from those that are there.\n\nThe file is then in "
        "`models/rs_corrector`. For your own checkpoint open the other template 3.", 260,
    )  # fmt: skip
    return learn(
        "3-learn-a-preference-miniature", note, ["RSCorrectorMiniature"], "miniature-backdrop.json",
        "a portrait of an Orvane person", 128, 16, 2.0, 32, 500, 16, 16,
    )  # fmt: skip


def learn_checkpoint():
    note = (
        "## Learn a preference\nPick your checkpoint and an axis, a stereotype that was documented, and press **Run**."
        "\n\n**Learn** makes pictures of both sides with your checkpoint, and trains a small network on them. "
        "**Calibrate** measures what it does. Both say how far they are; stop at any time, the pictures are kept and "
        "the next run goes on. The file is then in `models/rs_corrector`: any graph loads it with **Load Preference**, "
        "with no extra cost while sampling.\n\nSize, steps and CFG should be those that you draw with. For SDXL, set "
        "1024 x 1024 everywhere. On a GPU this takes minutes, on a CPU hours. No figure of this was measured on a "
        "large model: look at the report, and at before and after.", 420,
    )  # fmt: skip
    return learn(
        "3-learn-a-preference", note, ["CheckpointLoaderSimple", "v1-5-pruned-emaonly-fp16.safetensors"],
        "african-house-poverty.json", "portrait of an African man in front of his house", 512, 20, 7.0, 128, 2500, 400,
        8,
    )  # fmt: skip


def audit():
    w = Workflow("4-audit")
    note = w.note(
        "## Audit\nPress **Run**: what does the model draw for each group of the axis, and what does the correction "
        "change on the same seeds? The node gives the verdict and opens the report.\n\nFor your own checkpoint, load "
        "it in place of the miniature, choose its axis and preference (or disconnect the preference to audit the plain "
        "model), and set size, steps and CFG to those that you draw with. Stop at any time; the next run goes on.", 270,
    )  # fmt: skip
    model = w.add("RSCorrectorMiniature")
    axis = w.add("RSCorrectorLoadAxis", "miniature-backdrop.json")
    preference = w.add("RSCorrectorLoadPreference", "miniature-backdrop.safetensors")
    measured = w.add(
        "RSCorrectorAudit", 16, 0.1, 1.0, 16, 2.0, "euler", "karras", 128, 128, 0, 16, 1.0, "", "", model=(model, 0),
        clip=(model, 1), vae=(model, 2), axis=(axis, 0), preference=(preference, 0),
    )  # fmt: skip
    pictures = w.add("PreviewImage", title="Plain above corrected", images=(measured, 0))
    return w.lay_out(
        [w.group("4 · Audit", [note]), w.group("Model, axis, preference", [model, axis, preference])],
        [w.group("Audit", [measured])], [w.group("Pictures", [pictures])],
    )  # fmt: skip


def target_and_map():
    w = Workflow("5-target-and-map")
    note = w.note(
        "## Target share and map\nA **target** below 1 corrects only as many pictures as it takes: at 0.5, about half "
        "of the pictures show the city and the others stay as they are, bit for bit. The node says which were left "
        "alone.\n\n**Map** shows in orange where the correction acted on the same pictures at full strength, and at "
        "which steps.", 190,
    )  # fmt: skip
    model = w.add("RSCorrectorMiniature")
    preference = w.add("RSCorrectorLoadPreference", "miniature-backdrop.safetensors")
    corrector = w.add(
        "RSCorrectorAdvanced", 1.0, 0.5, 0.0, 1.0, 0, 0.0, True, model=(model, 0), preference=(preference, 0)
    )
    prompts = w.prompts((model, 1), "a portrait of a Tavelu person")
    latent = w.add("EmptyLatentImage", 128, 128, 4)
    seed = w.add("PrimitiveInt", 1, "fixed", title="Seed of all samplers")
    values = [1, "fixed", 16, 2.0, "euler", "karras", 1.0]
    both = w.before_and_after((model, 0), (corrector, 0), (model, 2), prompts, latent, values, seed=(seed, 0))
    where = w.add(
        "RSCorrectorMap", 1.0, 1, 16, 2.0, "euler", "karras", 1.0, model=(model, 0), vae=(model, 2),
        preference=(preference, 0), positive=(prompts[0], 0), negative=(prompts[1], 0), latent_image=(latent, 0),
        seed=(seed, 0),
    )  # fmt: skip
    steps = w.add("PreviewImage", title="At which steps", images=(where, 1), height=330)
    return w.lay_out(
        [w.group("5 · Target share and map", [note]), w.group("Model and preference", [model, preference, corrector])],
        [w.group("Prompt", [*prompts, latent, seed])], [both], [w.group("Where it acts", [where, steps])],
    )  # fmt: skip


def several_axes():
    w = Workflow("6-several-axes")
    note = w.note(
        "## Several axes\nThe miniature has two stereotypes: where people stand, and what they wear. **Combine "
        "Preferences** joins up to four preferences; each is applied to the pictures that it concerns, and "
        "RSCorrector has a line for each.", 130,
    )  # fmt: skip
    model = w.add("RSCorrectorMiniature")
    backdrop = w.add("RSCorrectorLoadPreference", "miniature-backdrop.safetensors", title="Backdrop")
    attire = w.add("RSCorrectorLoadPreference", "miniature-attire.safetensors", title="Attire")
    combined = w.add("RSCorrectorCombinePreferences", preference_1=(backdrop, 0), preference_2=(attire, 0))
    corrector = w.add("RSCorrector", 1.0, model=(model, 0), preference=(combined, 0))
    prompts = w.prompts((model, 1), "a portrait of a Tavelu person")
    latent = w.add("EmptyLatentImage", 128, 128, 4)
    seed = w.add("PrimitiveInt", 1, "fixed", title="Seed of both samplers")
    both = w.before_and_after(
        (model, 0), (corrector, 0), (model, 2), prompts, latent,
        [1, "fixed", 16, 2.0, "euler", "karras", 1.0], seed=(seed, 0),
    )  # fmt: skip
    return w.lay_out(
        [w.group("6 · Several axes", [note]), w.group("Model", [model])],
        [w.group("Preferences", [backdrop, attire, combined, corrector])],
        [w.group("Prompt", [*prompts, latent, seed])], [both],
    )  # fmt: skip


TEMPLATES = (
    first_correction, any_checkpoint, learn_miniature, learn_checkpoint, audit, target_and_map, several_axes,
)  # fmt: skip
