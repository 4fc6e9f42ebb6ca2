"""What preferences, gates and calibrations say in words when their figures are bad."""

from dataclasses import replace

from corrector.gate.weakness import gate_weakness
from corrector.learning.learn import weakness
from corrector.preference.calibration import Calibration


def test_a_preference_says_what_it_is_weak_in():
    figures = {"update_r2": 0.8, "verdict_agreement": 0.99}
    assert weakness(figures) == ""
    assert "20%" in weakness(figures | {"update_r2": 0.2}) and "nan" in weakness(figures | {"update_r2": float("nan")})
    assert "only 60% of the pairs" in weakness(figures | {"verdict_agreement": 0.6})


def test_a_gate_says_in_words_what_it_reads_badly():
    sound = {"group": 0.99, "explicit": 0.9, "overridden": 0.05, "false activation": 0.01, "n": 1000}
    assert gate_weakness({**sound, "by_hand": {"named": 0.95, "thing": 0.92}}) == ""
    weak = gate_weakness({**sound, "false activation": 0.13, "by_hand": {"denied": 0.33, "thing": 0.2}})
    assert weak == (
        "its gate on the prompt acts on 13% of held-out prompts that name nobody of the groups, takes 67% of denials "
        "of the stereotype for a wish for it, acts on 80% of things that are called after a group (at most 10% is "
        "sound): list more paraphrases in the axis, switch it off for such prompts"
    )
    assert gate_weakness({"overridden": None}) == ""


def test_a_calibration_says_in_words_what_correction_does_badly_and_what_to_do():
    sound = Calibration("Orvane", 7.0, 0.05, 84, 0.99, 84, tone_drift=1.9, spread=1.01)
    assert sound.harm == "" and "within reach" in sound.reach(0.5)
    assert "their skin is 3.9 points of L* darker" in replace(sound, tone_drift=-3.9).harm
    assert "their skin is 3.9 points of L* lighter" in replace(sound, tone_drift=3.9).harm
    ruined = replace(sound, error=1.6, spread=1.14).harm
    assert "harms pictures of Orvane at CFG 7" in ruined and "1.14 times" in ruined and "1.6 times" in ruined
    burnt = replace(sound, burnt=1.3).harm
    assert burnt.startswith("the model's own pictures of Orvane are burnt at CFG 7") and "1.30 times" in burnt
    weak = replace(sound, full_rate=0.6, full_n=400, full_interval=(0.55, 0.65))
    assert "may be out of reach; full strength gives 60.0% of 400. Learn from more pairs" in weak.reach(0.75)
