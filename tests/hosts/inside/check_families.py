"""Every family of models that ComfyUI samples pictures with is corrected, by its own classes and networks."""

import pytest
import torch
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from families import FAMILIES, text_of
from host import correct, sample, untrained
from rs_pack.corrector.correction.update import Settings
from rs_pack.nodes import correction, sampling
from rs_pack.nodes.models import space_of

PROMPT = "a photo of a person"
STEPS = 4
PICTURES = 2
# Evaluations for each picture: the run, its preview, the preview's verdict, the counter side in the first step, and the
# verdict on what it made.
TEXT = {  # inputs of networks that come from the text
    "c_crossattn", "y", "attention_mask", "clip_text", "clip_text_pooled", "text_embedding_mask",
    "encoder_hidden_states_t5", "text_embedding_mask_t5", "encoder_hidden_states_llama3",
}  # fmt: skip
MOST = {1.0: STEPS + 1 + 2 + 1 + 2, 4.0: 2 * STEPS + 10 + 2 + 1 + 4}


@pytest.fixture(autouse=True)
def graph():
    """A running graph, among whose widgets the prompt is."""
    reset_progress_state("prompt", DynamicPrompt({"1": {"class_type": "CLIPTextEncode", "inputs": {"text": PROMPT}}}))
    yield
    reset_progress_state("", DynamicPrompt({}))


@pytest.fixture(scope="module")
def models():
    """{name of a family: its MODEL}, each made when it is first asked for."""

    class Models(dict):
        def __missing__(self, name):
            self[name] = FAMILIES[name].model()
            return self[name]

    with torch.inference_mode():
        yield Models()


def drawn(model, family, cfg, pictures=PICTURES, **fields):
    """Latents of a run -> (as KSampler returns them, the inputs of the network, one for each evaluated picture)."""
    seen = []

    def note(apply, call):
        tensors = {name: part for name, part in call["c"].items() if isinstance(part, torch.Tensor)}
        for index in range(len(call["input"])):
            seen.append({name: part[index % len(part)] for name, part in tensors.items()})
        return apply(call["input"], call["timestep"], **call["c"])

    model = model.clone()
    model.set_model_unet_function_wrapper(note)
    ((tokens, extra),) = family.encode(PROMPT)
    latent = {"samples": torch.zeros(pictures, *family.latents)}
    positive, negative = [[tokens, extra | fields]], family.encode("")
    return sample(model, positive, negative, steps=STEPS, cfg=cfg, scheduler="simple", latent=latent), seen


def asked(model, family, cfg, **fields):
    """A run that corrects at least one picture -> (latents, inputs of the network, the Run).

    What networks of random weights would show is chance, but the two orders of the sides never agree on it.
    """
    for sides in (("huts", "towers"), ("towers", "huts")):
        runs = []
        corrected = correction.corrected(model, text_of(family, *sides), Settings(), told=runs.append)
        latents, seen = drawn(corrected, family, cfg, **fields)
        if "" in runs[0].reasons[0]:
            return latents, seen, runs[0]
    raise AssertionError(runs[0].report())


@pytest.mark.parametrize("cfg", (1.0, 4.0))
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_corrected_without_learning_at_the_cost_that_is_said(models, name, cfg):
    family, model = FAMILIES[name], models[name]
    plain, evaluated = drawn(model, family, cfg)
    assert len(evaluated) == PICTURES * STEPS * (1 + (cfg != 1))
    latents, evaluated, run = asked(model, family, cfg)
    fine = [bool(why) for why in run.reasons[0]]
    assert latents.shape == plain.shape
    for made, before, left in zip(latents, plain, fine, strict=True):  # experts round by all pictures of the batch
        assert torch.allclose(made, before, atol=1e-3) == left
    assert f"corrected {fine.count(False)} of {PICTURES}" in run.report()[0]
    asked_by_step = 0 if not any(fine) else STEPS  # texts of unequal length do not fit into one batch
    assert len(evaluated) <= PICTURES * MOST[cfg] + asked_by_step
    off = correct(model, text_of(family), **({"strength": 0.0} if cfg == 1 else {"start_percent": 0.98}))
    assert torch.equal(drawn(off, family, cfg)[0], plain)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_learned_preference_corrects_a_family(models, name):
    family, model = FAMILIES[name], models[name]
    assert space_of(model) == family.space
    plain, _ = drawn(model, family, 4.0)
    latents, _ = drawn(correct(model, untrained(family.space)), family, 4.0)
    assert (latents != plain).flatten(1).any(dim=1).all()
    assert torch.equal(drawn(correct(model, untrained(family.space), 0.0), family, 4.0)[0], plain)


@pytest.mark.parametrize("name", FAMILIES)
def test_both_sides_are_asked_with_all_that_belongs_to_the_prompt_but_its_text(models, name):
    family = FAMILIES[name]
    fields = {"guidance": 2.0} if family.guidance else {}
    _, seen, _ = asked(models[name], family, 1.0, **fields)
    prompt = seen[0]
    if family.guidance:
        assert all(float(row["guidance"]) == 2.0 for row in seen)
    for row in seen:
        assert row.keys() == prompt.keys()
        for part in row.keys() - TEXT:
            assert torch.equal(row[part], prompt[part]), part


@pytest.mark.parametrize("name", FAMILIES)
def test_how_a_family_is_sampled_is_read_from_its_sampling_object(models, name):
    family, model = FAMILIES[name], models[name]
    assert sampling.Sampling(model).flow == sampling.predicts_flow(model) == family.flow
