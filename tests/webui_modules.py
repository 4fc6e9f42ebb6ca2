"""Fakes of the modules that a script imports from a WebUI, and a real preference with another latent space."""

import importlib.util
import shutil
import sys
import types
from types import SimpleNamespace

import webui_prompts
from preference_files import rewrite

EVENTS = ("before_ui", "cfg_denoiser", "cfg_denoised", "cfg_after_cfg")


class Script:
    """The host's base class of scripts, as far as ours calls it."""

    def on_after_component(self, callback, *, elem_id):
        self.after = callback, elem_id


class FakeModules:
    """`modules` and `gradio` as a script imports them."""

    def __init__(self, monkeypatch, models_path):
        self.callbacks = {event: [] for event in EVENTS}
        self.models_path = models_path
        self.swallowed = []
        self.model_data = SimpleNamespace(sd_model=None)
        self.opts, self.state = SimpleNamespace(CLIP_stop_at_last_layers=1), SimpleNamespace(textinfo=None)
        modules = types.ModuleType("modules")
        parts = {
            "paths": {"models_path": str(models_path), "data_path": str(models_path.parent / "data")},
            "prompt_parser": vars(webui_prompts),
            "sd_samplers_common": {
                "decode_first_stage": lambda model, latents: model.miniature.decode(latents),
                "images_tensor_to_samples": lambda image, model: model.encode_pictures(image * 2 - 1),
            },
            "shared": {"opts": self.opts, "state": self.state},
            "scripts": {"Script": Script, "AlwaysVisible": object(), "scripts_data": []},
            "script_callbacks": {f"on_{event}": self.callbacks[event].append for event in EVENTS},
            "sd_models": {"model_data": self.model_data},
        }
        for name, content in parts.items():
            part = types.ModuleType(f"modules.{name}")
            part.__dict__.update(content)
            setattr(modules, name, part)
            monkeypatch.setitem(sys.modules, f"modules.{name}", part)
        monkeypatch.setitem(sys.modules, "modules", modules)
        monkeypatch.setitem(sys.modules, "gradio", fake_gradio())
        for name in (
            "backend",
            "backend.sampling",
            "backend.sampling.sampling_function",
        ):  # Forge's, filled by the fake
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        self.scripts = modules.scripts

    def load(self, path):
        """Load a script file as both hosts do: by path, under its file name, without adding it to sys.modules."""
        for callbacks in self.callbacks.values():
            callbacks.clear()
        spec = importlib.util.spec_from_file_location(path.name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, self.scripts.Script)]
        assert len(found) == 1, f"{path.name} shows the host {len(found)} scripts"
        return found[0]()

    def call(self, event, params):
        for callback in self.callbacks[event]:
            try:
                callback(params)
            except Exception as error:
                self.swallowed.append(error)


def fake_gradio():
    """Blocks that record their arguments and event handlers."""
    gradio = types.ModuleType("gradio")

    class Block:
        def __init__(self, *args, **kwargs):
            self.kind, self.args, self.label = type(self).__name__, args, kwargs.get("label")
            self.value, self.elem_id, self.events = kwargs.get("value"), kwargs.get("elem_id"), {}

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False

        def change(self, function, inputs, outputs, **_):
            self.events["change"] = function

        def click(self, function, inputs, outputs, **_):
            self.events["click"] = function

    for name in ("Accordion", "Row", "Checkbox", "Dropdown", "Button", "Slider", "HTML"):
        setattr(gradio, name, type(name, (Block,), {}))
    gradio.update = lambda **changed: {"__type__": "update", **changed}
    return gradio


def relabelled(source, target, space="sd15", **changed):
    """Copy a preference file with another latent space, since the fakes' models claim to be SD1.5."""

    def change(metadata):
        metadata["latent_space"] = metadata["source"]["space"] = space
        metadata |= changed

    shutil.copy(source, target)
    rewrite(target, change)
    return target
