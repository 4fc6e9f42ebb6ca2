"""A method of an object that is replaced for a while, and put back."""

import copy
import functools
from collections.abc import Callable


class ReplacedMethod:
    """Inside the block, `owner.name(...)` is `method(original, ...)`; a copy of the owner has its original method."""

    def __init__(self, owner: object, name: str, method: Callable):
        self.owner = owner
        self.name = name
        self.method = method
        self.active = False  # after the block a shallow copy of the owner may still have it
        self.before = vars(owner).get(name)
        self.original = getattr(owner, name)
        functools.update_wrapper(self, self.original, updated=())  # pipelines read the signatures

    def __call__(self, *args, **kwargs):
        return self.method(self.original, *args, **kwargs) if self.active else self.original(*args, **kwargs)

    def __deepcopy__(self, memo):
        if id(self.owner) not in memo:
            return self
        return copy.deepcopy(self.original, memo)  # bound to the copy of the owner

    def __enter__(self):
        self.active = True
        setattr(self.owner, self.name, self)

    def __exit__(self, *_):
        self.active = False
        if self.before is None:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.before)
