"""What a run has read in its prompts is said before it acts, with how sure that is, and once."""

import torch

from corrector.correction.heard import readings_of_run
from corrector.correction.memory import Memory
from corrector.correction.run import Run
from corrector.correction.update import Settings
from corrector.gate.prompt_gate import OUT_OF_SCOPE, PromptGate, PromptReading


class Deaf(PromptGate):
    """Reads nobody in any prompt, who asks for nothing."""

    def __init__(self):
        super().__init__(1, 2, 1, in_scope=0.8, asked=0.5)

    def read(self, regions):
        return PromptReading(OUT_OF_SCOPE, "neither", 1, 0.1, 0.2)


def test_it_says_what_it_read_and_whether_words_or_the_network_did(exact):
    preference = exact(shape=(4, 8, 8))
    preference.gate = Deaf()
    texts = ["an Orvane person", "an Orvane person", "a cat", "an Orvane person in a village"]
    prompts = [[torch.zeros(1, 1, 1)]] * len(texts)
    run = Run([preference], Settings(), torch.rand(len(texts)), prompts, memory=Memory(), texts=texts)
    network = "names Tavelu 0.10 of 0.80 needed, asks for something 0.20 of 0.50"
    words = f"in words that the axis lists; from token vectors alone: {network}"
    named, nobody = (
        "the prompt names Orvane and asks for nothing",
        "the prompt names nobody of Orvane, Tavelu: left alone",
    )
    village = "the prompt asks for a village: left alone"
    assert readings_of_run(run) == {
        named: f"{named} ({words})", nobody: f"{nobody} ({network})", village: f"{village} ({words})"
    }  # fmt: skip


def test_without_a_gate_nothing_is_read(exact):
    run = Run([exact(shape=(4, 8, 8))], Settings(), torch.rand(1), [[torch.zeros(1, 1, 1)]], memory=Memory())
    assert readings_of_run(run) == {}
