"""Asynchronous methods that block, for scripts and notebooks: their event loop runs in a thread of its own."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack
from functools import wraps
from inspect import signature
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar


class Closable(Protocol):
    """What is closed at the end."""

    async def close(self) -> None:
        """Lets go of everything."""


S = TypeVar("S", bound=Closable)
T = TypeVar("T")
P = ParamSpec("P")
B = TypeVar("B", bound="Blocking[Any]")


class Blocking(Generic[S]):
    """Holds an object with asynchronous methods, and the thread with the event loop in which they run.

    Without ``with`` it is closed by :meth:`close`, or at the end of the program. Methods may be called from any thread.
    """

    def __init__(self, wrapped: S) -> None:
        # imported here: `iotd query`, which does not block, starts sooner without it
        from anyio.from_thread import start_blocking_portal  # noqa: PLC0415

        self._wrapped = wrapped
        stack = ExitStack()
        self._portal = stack.enter_context(start_blocking_portal(name="iotd queries"))
        stack.callback(self._portal.call, wrapped.close)
        # a notebook's is closed when it is let go of, or the program ends
        self._closing = weakref.finalize(self, stack.close)

    def __enter__(self: B) -> B:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends its thread; it can't be used any more. A second call does nothing."""
        self._closing()

    def __repr__(self) -> str:
        return repr(self._wrapped).replace("<", "<Blocking", 1)

    def wait(self, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work`` returns, or raises."""
        return self._portal.call(work)

    def each(self, chunks: AsyncIterator[T]) -> Iterator[T]:
        """What ``chunks`` yields; it is closed when the loop over it is left."""

        async def following() -> tuple[T] | None:
            try:
                return (await anext(chunks),)
            except StopAsyncIteration:
                return None

        try:
            while (found := self.wait(following)) is not None:
                yield found[0]
        finally:
            if (aclose := getattr(chunks, "aclose", None)) is not None:
                self.wait(aclose)


def waiting(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking[S], P], T]:
    """The method that blocks, with the parameters and the docstring of the one that does not."""

    @wraps(method)
    def wait(self: Blocking[S], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.wait(lambda: method(self._wrapped, *args, **kwargs))

    return wait


def iterating(
    method: Callable[Concatenate[S, P], AsyncIterator[T]],
) -> Callable[Concatenate[Blocking[S], P], Iterator[T]]:
    """The same for a method that gives an asynchronous iterator."""

    @wraps(method)
    def iterate(self: Blocking[S], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self.each(method(self._wrapped, *args, **kwargs))

    # help() would show the asynchronous iterator that is wrapped
    wanted = signature(method)
    annotation = wanted.replace(return_annotation=str(wanted.return_annotation).removeprefix("Async"))
    vars(iterate)["__signature__"] = annotation
    return iterate
