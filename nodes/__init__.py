"""The ComfyUI nodes, one family per file; nothing else imports comfy."""

from comfy_api.latest import ComfyExtension, io

from . import metadata, outcome, reports
from .any_checkpoint import RSCorrectorAnyCheckpoint
from .audit import RSCorrectorAudit, RSCorrectorMap
from .axes import RSCorrectorAxis, RSCorrectorLoadAxis
from .compare import RSCorrectorCompare
from .correction import RSCorrector, RSCorrectorAdvanced
from .learning import RSCorrectorCalibrate, RSCorrectorLearnPreference
from .miniature import RSCorrectorMiniature
from .preferences import RSCorrectorCombinePreferences, RSCorrectorLoadPreference, RSCorrectorSavePreference
from .text import RSCorrectorTextPreference


class RSCorrectorExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        # Not in `on_load`, which ComfyUI 0.8.0 and before never call.
        metadata.watch_prompts()
        outcome.add_routes()
        reports.add_routes()
        return [
            RSCorrectorAnyCheckpoint,
            RSCorrector,
            RSCorrectorAdvanced,
            RSCorrectorMiniature,
            RSCorrectorLoadPreference,
            RSCorrectorTextPreference,
            RSCorrectorCombinePreferences,
            RSCorrectorSavePreference,
            RSCorrectorLoadAxis,
            RSCorrectorAxis,
            RSCorrectorLearnPreference,
            RSCorrectorCalibrate,
            RSCorrectorAudit,
            RSCorrectorMap,
            RSCorrectorCompare,
        ]
