"""One sampling run of any host, from its first prediction to its report."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..latents.devices import device_of, place
from ..latents.skin import Pictures
from ..latents.spaces import fit_mask
from ..preference.networks import PreferenceError
from ..preference.preference import Preference
from ..preference.text import Text
from .asked import RunModel
from .asked_run import AskedRun
from .decision import PastDecision, correct_fine, decide, groups_of, notes, summary
from .first_look import first_look
from .memory import Memory
from .run_skin import RunSkin
from .update import CorrectionError, Settings, correct
from .verdict import Side

MEMORY = Memory()  # shared by all models, because the stages of a picture may use different ones
WINDOW_MISSED = "the window contains none of this run's steps"
STRENGTH_ZERO = "its strength is 0"
SAME_NOISE = 0.95  # cosine of the noise at two steps, below which the sampler has added some
OTHER_NOISE = 0.3  # the same, below which nearly all is new


class Run:
    """Decides once which pictures each preference corrects, corrects at every call, and reports.

    A run that starts from pictures of an earlier run keeps its decisions. Networks are moved to the device of the
    latents at the first call, and back by `finish`.

    Args:
        preferences: applied together.
        settings: the mask may have any size.
        coins: [B] in 0..1, from `thinning.coins_from_noise` or `coins_from_seeds`.
        prompts: for each picture the token vectors of its prompts (regions), each [1, T, W], for the gate.
        start: latents [B, C, H, W] in model space to which the run adds noise, or None.
        repainted: inpainting mask [..., H, W], 1 where `start` is not used; or None.
        context: a value that the runs of one graph or job share (`Memory.keep`).
        use_gate: False corrects every picture, whatever its prompt.
        asks: the host's model, for preferences with a Text source. Raises PreferenceError if there is one and no model.
        memory: Memory of earlier runs.
        before: an earlier Run of the same pictures in the same order, if known.
        steps: of the run, if known.
        model: the identity of the model that samples, as `Calibration.of_other_model` takes it, or a function that
            gives it, which is called once if a preference was calibrated; "" if not known.
        texts: for each picture its prompt as text, or None; () if no text is known.
        pictures: a function -> how the host shows latents when the run is finished, by its VAE or in approximate
            colours, or None if it cannot; then skin is not kept.
    """

    def __init__(
        self, preferences: Sequence[Preference], settings: Settings, coins: Tensor, prompts: Sequence[list[Tensor]],
        start: Tensor | None = None, repainted: Tensor | None = None, context: object = None, use_gate: bool = True,
        asks: RunModel | None = None, memory: Memory = MEMORY, before: "Run | None" = None, steps: int | None = None,
        model: str | Callable[[], str] = "", texts: Sequence[str | None] = (),
        pictures: Callable[[], Pictures | None] | None = None,
    ):  # fmt: skip
        self.settings = settings
        self.coins = coins
        self.context = context
        self.memory = memory
        calibrated = any(calibration.checkpoint for each in preferences for calibration in each.calibrations)
        self.model = model if isinstance(model, str) else model() if calibrated else ""
        self.preferences = list(preferences)
        asking = [isinstance(preference.source, Text) for preference in preferences]
        if any(asking) and asks is None:
            raise PreferenceError(
                f'The preference "{preferences[asking.index(True)].name}" asks the model, which cannot be done here; '
                "use a learned preference."
            )
        self.readings = [preference.readings(prompts, texts, use_gate) for preference in preferences]
        self.skin = RunSkin(settings, pictures, repainted)
        asked = AskedRun(preferences, self.readings, asks, settings, coins, steps) if asks and any(asking) else None
        self.asked = asked
        self._first: tuple[Tensor, Tensor] | None = None  # x and sigma of the first step, until the second
        self.decisions = None  # a Decision per preference, from the first call on
        self.acted = False  # whether a call corrected a picture
        self.cfg = None
        self.unknown = 0  # number of pictures in `start` that no remembered run made
        self._strengths = settings.strengths(len(coins)).tolist()
        self._reasons = []  # a list per preference
        self._homes = {}  # {source: its device before the run}
        self._last_prediction = None  # a function -> the last corrected prediction
        self._earlier = [None] * len(coins)
        if before is not None and before.decisions is not None:
            self._earlier = before.decided()
        elif start is not None and bool((start - start[:, :, :1, :1]).any()):  # latents of empty pictures are constant
            self._earlier = memory.find(start, repainted, context)
            self.unknown = self._earlier.count(None)

    def correct(
        self, denoised: Tensor, x: Tensor, sigma: Tensor, cfg: float = 1.0, conditional: Tensor | None = None,
        unprompted: Tensor | None = None, replaced: bool = False,
    ) -> Tensor:  # fmt: skip
        """The corrected denoised [B, C, H, W]; the same tensor object if no picture is corrected.

        Args:
            denoised: the model's prediction after CFG, model space, any dtype.
            x: the noisy latent in variance-exploding form, x = x0 + sigma n.
            sigma: [B].
            cfg: the CFG scale of this call.
            conditional: the prediction for the user's prompt, without CFG; by default `denoised`.
            unprompted: the prediction for the negative prompt, with `conditional`; from hosts in which something else,
                as another node or an inpainting mask, may have changed `denoised` before.
            replaced: whether the host predicted for what `replacement` gave it.
        """
        if denoised.ndim == 4:
            if self.decisions is None:
                self._decide(denoised, x, sigma, cfg, conditional, unprompted)
            self._heed_noise(x, sigma)
            self._place(x.device)
        asked = self.asked.sides if self.asked and not replaced else None
        decisions, first = self.decisions or (), self._first is not None
        result = correct(denoised, x, sigma, self.preferences, decisions, self.settings, cfg, conditional, asked, first)
        if result is not denoised:
            self.skin.see(denoised if conditional is None else conditional, sigma)
        self.acted |= result is not denoised
        self._last_prediction = lambda: result
        return result

    def change(
        self, x: Tensor, sigma: Tensor, cfg: float, conditional: Tensor | None, predicted: Callable[[], Tensor],
        unprompted: Tensor | None = None, replaced: bool = False,
    ) -> Tensor | None:  # fmt: skip
        """D* - D [B, C, H, W] in float32, or None if no picture is corrected; for hosts whose model output is not x0.

        It does not depend on D, so the host's output for other pictures stays bit-identical.

        Args:
            x, sigma, cfg, conditional, unprompted, replaced: as for `correct`.
            predicted: `predicted()` -> the prediction after CFG, called at the first step and at the end of the run.
        """
        if self.decisions is None and x.ndim == 4:
            self._decide(predicted(), x, sigma, cfg, conditional, unprompted)
        nothing = torch.zeros_like(x, dtype=torch.float32)
        change = self.correct(nothing, x.float(), sigma.float(), cfg, conditional, replaced=replaced)
        self._last_prediction = lambda: predicted().float() + change
        return None if change is nothing else change

    def _decide(self, denoised, x, sigma, cfg, conditional, unprompted=None):
        if len(x) != len(self.coins):
            raise CorrectionError(
                f"The host samples {len(x)} pictures, but announced {len(self.coins)}; another extension changes the "
                "batch. Disable it, or RS-Corrector."
            )
        self.cfg, self._first = cfg, (x, sigma)
        if self.settings.mask is not None:
            self.settings = replace(self.settings, mask=fit_mask(self.settings.mask, x))
        self._place(x.device)
        prompted = denoised if conditional is None else conditional
        guided = denoised if unprompted is None else unprompted + cfg * (conditional - unprompted)
        decided = []
        for number, (preference, readings) in enumerate(zip(self.preferences, self.readings, strict=True)):
            look = first_look(preference, x, sigma, groups_of(readings), prompted, guided, cfg)
            evidence = self.asked and self.asked.evidence(number, x, sigma, cfg, denoised)
            earlier = [past.get(preference.axis.hash) if past else None for past in self._earlier]
            target = self.settings.target
            decided.append(
                decide(preference, readings, self.coins, target, cfg, look.lean, earlier, evidence, look.opening)
            )
        self.decisions = [decision.to(x.device) for decision, _ in decided]
        self._reasons = [reasons for _, reasons in decided]

    def _heed_noise(self, x, sigma):
        """Before an evaluation: a picture to which the sampler adds noise does not come out as the first step said. If
        that was fine, it is corrected from now on; where the model is asked, only if nearly all noise is new, as with
        LCM, or if it shows the stereotype later.
        """
        if self.decisions and self._first and self._last_prediction and not (self._first[1] == sigma).any():
            (before, _), self._first = self._first, None
            similarity = _noise_similarity(before, x, self._last_prediction())
            for preference, decision, reasons in zip(self.preferences, self.decisions, self._reasons, strict=True):
                asks = isinstance(preference.source, Text)
                correct_fine(similarity < (OTHER_NOISE if asks else SAME_NOISE), decision, reasons)
            if self.asked:
                fine = torch.stack([decision.fine for decision in self.decisions]).any(dim=0)
                self.asked.noisy = (similarity < SAME_NOISE) & fine
        if self.asked and self.decisions:
            self.asked.preview_again(x, sigma, self.decisions, self._reasons)

    def finished(self, made: Tensor) -> Tensor:
        """The latents that the run made [B, C, H, W] in model space, with the skin tone of plain pictures where it was
        corrected; `made` itself if it has not to change.
        """
        if not self.acted:
            return made
        previews = self.asked.previews if self.asked else [None] * len(self.preferences)
        return self.skin.finished(made, self.preferences, self.decisions or (), previews)

    def replacement(self, x: Tensor, sigma: Tensor) -> tuple[Any, Tensor] | None:
        """For which pictures the host may predict for the counter side in place of their prompts -> (its conditioning,
        as `RunModel.encode` gave it for all pictures; bool [B] on the CPU, some True), or None.

        The prediction is then D + w (D_c - D_cond) by itself, without asking. That needs a single preference and plain
        settings.

        Args:
            x, sigma: as for `correct`.
        """
        if self.asked is None or self.decisions is None:
            return None
        self._heed_noise(x, sigma)
        return self.asked.replacement(self.decisions, float(sigma.max()))

    def judge(self, made: Tensor) -> None:
        """Ask the model which sides the finished pictures [B, C, H, W] in model space show, for `results`, unless the
        settings leave that out.
        """
        if self.asked and self.acted:
            self.asked.judge(made)

    def results(self) -> list[tuple[str, bool]]:
        """What the pictures in scope show, for each preference that asked -> ("a village: 8 -> 0 of 8", whether no
        stereotype is left).
        """
        return self.asked.results() if self.asked else []

    def sides(self) -> list[list[tuple[Side, Side] | None]]:
        """For each preference and picture the sides that its preview and the picture itself show; None if not known."""
        return self.asked.shown() if self.asked else [[None] * len(self.coins) for _ in self.preferences]

    def _place(self, device):
        for preference in self.preferences:
            source = preference.source
            if isinstance(source, nn.Module) and device_of(source) != device:
                self._homes.setdefault(source, device_of(source))
                place(source, device)

    def finish(self, made: Tensor | None = None) -> None:
        """End the run, also after an interruption: move networks back and remember its pictures for later stages.

        Args:
            made: latents [B, C, H, W] in model space that the run returns, or None.
        """
        for source, home in self._homes.items():
            place(source, home)
        if self._last_prediction:
            last = self._last_prediction()
            # If noise is left in `made`, a later stage may also start from the last prediction.
            if (
                made is None
                or made.shape != last.shape
                or (last - made.to(last)).abs().mean() > 0.1 * last.abs().mean()
            ):
                self.memory.keep(last, self.decided(), self.context)
            if made is not None and len(made) == len(self.coins):
                self.memory.keep(made, self.decided(), self.context)
        self._homes = {}
        self._last_prediction = self.skin.prompted = None

    def decided(self) -> list[dict[str, PastDecision]]:
        """The decisions of this run and of earlier stages -> {axis hash: PastDecision} for each picture."""
        decided = [dict(earlier or {}) for earlier in self._earlier]
        strengths = self._strengths if self.acted else [0.0] * len(decided)
        for preference, decision, reasons in zip(self.preferences, self.decisions or (), self._reasons, strict=True):
            owed = self.skin.owed(decision) if self.acted else torch.zeros(len(decided))
            columns = decision.group.tolist(), decision.active.tolist(), reasons, strengths, owed.tolist()
            for decisions, group, active, why, strength, tone in zip(decided, *columns, strict=True):
                earlier = decisions.get(preference.axis.hash)
                if group >= 0 or earlier is None:
                    strongest = max(strength, earlier.strength if earlier and earlier.active else 0.0)
                    past = PastDecision(group, active, why, self.settings.target, strongest, tone)
                    decisions[preference.axis.hash] = past
        return decided

    @property
    def reasons(self) -> list[list[str]]:
        """For each preference and picture, why it was left alone, or "" if it was corrected."""
        corrected = "" if self.acted else WINDOW_MISSED
        defaults = [corrected if strength else STRENGTH_ZERO for strength in self._strengths]
        return [[why or default for why, default in zip(row, defaults, strict=True)] for row in self._reasons]

    def outcomes(self) -> list[str]:
        """One text per picture, for its metadata; empty before the first call."""
        columns = []
        for preference, reasons in zip(self.preferences, self.reasons, strict=False):
            name = f"{preference.name}: " if len(self.preferences) > 1 else ""
            columns.append([f"{name}left alone, {why}" if why else f"{name}corrected" for why in reasons])
        return ["; ".join(row) for row in zip(*columns, strict=True)]

    def report(self) -> list[str]:
        """Log lines, one per preference; empty before the first call."""
        lines = [summary(*described, self.cfg, self.model) for described in self._described()]
        return lines + [text for text, _ in self.results()] + self.skin.notes + self._unknown_note() if lines else []

    def notes(self) -> list[str]:
        """What a user should know about the run besides its reasons -> short texts, each once."""
        texts = [text for described in self._described() for text in notes(*described, self.cfg, self.model)]
        return list(dict.fromkeys(texts + self.skin.notes + self._unknown_note()))

    def _described(self):
        """For each preference (itself, its reasons, the group of each picture); empty before the first call."""
        groups = [decision.group.tolist() for decision in self.decisions or ()]
        return zip(self.preferences, self.reasons, groups, strict=False)

    def _unknown_note(self):
        if not self.unknown or self.settings.target == 1:
            return []
        return [
            f"{self.unknown} of {len(self.coins)} pictures that this run starts from were not made by an earlier run "
            "in memory, so the target share was applied to them again"
        ]


def _noise_similarity(before: Tensor, x: Tensor, denoised: Tensor) -> Tensor:
    """The cosine [B] of the noise in x [B, C, H, W] at two steps, where `denoised` is that of the earlier one."""
    noise_before, noise = ((part.float() - denoised.float()).flatten(1) for part in (before, x))
    return torch.cosine_similarity(noise_before, noise)
