"""Texts and messages become tokens: control tokens come from the chat template, never from what a text says.

A post that holds "<|im_end|>" ends no message: its letters are read as letters. Texts without such words get the
tokens that the tokenizer gives them.
"""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken

from collm.common.errors import ModelError
from collm.domains.base import Message
from collm.domains.thoughts import CLOSE, OPEN
from collm.llm.truncation import Spans, TooLong, fit

PRIVATE = range(0xF0000, 0xFFFFE)  # characters without meaning, which stand for control tokens on the way


class Encoder:
    """The tokenizer of one model with its chat template."""

    def __init__(self, name: str, tokenizer: Any, template: Mapping[str, Any] | None):
        """Take the tokenizer of model `name`.

        Args:
            template: what its chat template is given besides the messages; None: prompts are plain text.
        Raises:
            ModelError: the tokenizer is not a fast one, or an argument is not the template's to have.
        """
        if not tokenizer.is_fast:
            raise ModelError(f"model {name!r} has no fast tokenizer (tokenizer.json); convert it with transformers")
        self.name, self.tokenizer, self.arguments = name, tokenizer, dict(template or {})
        self.chat = template is not None and bool(tokenizer.chat_template)
        self._control = {token.content: token for token in tokenizer.added_tokens_decoder.values() if token.special}
        longest_first = sorted(self._control, key=len, reverse=True)
        self._written = re.compile("|".join(map(re.escape, longest_first)) if longest_first else r"(?!)")
        self._readers: dict[str, tuple[Any, dict[int, int]]] = {}
        if self.chat:
            self._check_arguments()
        self.opens_thought = self.chat and self._opens_thought()
        self._thoughts = {tokenizer.convert_tokens_to_ids(tag): tag for tag in (OPEN, CLOSE) if tag in self._control}

    def _check_arguments(self) -> None:
        """Refuse arguments that are ours to give; say which ones the template does not use."""
        taken = {"self", "messages", *inspect.signature(self.tokenizer.apply_chat_template).parameters} - {"kwargs"}
        template = self.tokenizer.get_chat_template()
        for argument in self.arguments:
            if argument in taken:
                raise ModelError(
                    f"team.chat_template_arguments: {argument!r} cannot be set here; allowed are names that the "
                    "chat template itself uses, like enable_thinking"
                )
            if not re.search(rf"\b{re.escape(argument)}\b", template):
                print(
                    f"model {self.name}: its chat template does not use {argument} (team.chat_template_arguments)",
                    file=sys.stderr,
                )

    def _opens_thought(self) -> bool:
        """Whether the template itself begins every response with a thought."""
        rendered = self._render([{"role": "user", "content": "?"}])
        return rendered.rfind(OPEN) > rendered.rfind(CLOSE)

    def messages(self, messages: Sequence[Message], limit: int | None = None) -> tuple[tuple[int, ...], int]:
        """Token ids of a prompt, and how many fewer than `limit` would have cut off they are.

        Rendered by the chat template, or plain text, the messages one below the other. Too long, its longest messages
        lose their middle; system texts and the template's own tokens stay.

        Raises:
            TooLong: these alone have more tokens than `limit`.
        """

        def encode(contents: Sequence[str]) -> Sequence[int]:
            if not self.chat:
                return self._text("\n\n".join(contents))
            return self._chat([{**one, "content": text} for one, text in zip(messages, contents, strict=True)])

        system = [message["role"] == "system" for message in messages]
        return self._fitted([message["content"] for message in messages], system, limit, encode)

    def text(self, text: str, limit: int | None = None) -> tuple[tuple[int, ...], int]:
        """The same for a plain text."""
        return self._fitted([text], [False], limit, lambda texts: self._text(texts[0]))

    def response(self, text: str) -> tuple[int, ...]:
        """Token ids of a response that is given as text, without any special token."""
        return tuple(self._text(text, first=False))

    def decode(self, ids: Sequence[int]) -> str:
        """A response's text without control tokens, but with the marks of thoughts: also one that the prompt opened."""
        parts: list[str] = [OPEN] if self.opens_thought else []
        start = 0
        for place, token in enumerate(ids):
            if token in self._thoughts:
                parts += [self.tokenizer.decode(ids[start:place], skip_special_tokens=True), self._thoughts[token]]
                start = place + 1
        return "".join([*parts, self.tokenizer.decode(ids[start:], skip_special_tokens=True)])

    def _fitted(
        self, texts: Sequence[str], whole: Sequence[bool], limit: int | None, encode: Any
    ) -> tuple[tuple[int, ...], int]:
        ids = encode(texts)
        if limit is None or len(ids) <= limit:
            return tuple(ids), 0
        shorter = fit(texts, whole, limit, encode, self._spans)
        return tuple(shorter), len(ids) - len(shorter)

    def _spans(self, text: str) -> Spans:
        reader, _ = self._reader("")
        return reader.encode(text, add_special_tokens=False).offsets

    def _text(self, text: str, first: bool = True) -> Sequence[int]:
        """Token ids of a text in which nothing is a control token; `first`: with the tokens that begin a text."""
        if self._written.search(text) is None:
            return self.tokenizer(text, add_special_tokens=first, verbose=False)["input_ids"]
        reader, _ = self._reader("")
        return reader.encode(text, add_special_tokens=first).ids

    def _render(self, messages: Sequence[Message]) -> str:
        return self.tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=True, **self.arguments
        )

    def _chat(self, messages: Sequence[Message]) -> Sequence[int]:
        """Token ids of rendered messages; control tokens are those that the template adds.

        Words in a content that look like one are hidden from the template. What looks like one afterwards is the
        template's; it gets a name that no text holds, by which a copy of the tokenizer knows it.
        """
        everything = "".join(message["content"] for message in messages)
        if self._written.search(everything) is None:
            return self.tokenizer(self._render(messages), add_special_tokens=False, verbose=False)["input_ids"]
        free = (chr(code) for code in PRIVATE if chr(code) not in everything)
        hidden, control = next(free), next(free)
        words = list(self._control)

        def named(mark: str, text: str) -> str:
            return self._written.sub(lambda match: f"{mark}{words.index(match[0])}{mark}", text)

        contents = [named(hidden, message["content"]) for message in messages]
        rendered = self._render([{**one, "content": text} for one, text in zip(messages, contents, strict=True)])
        text = re.sub(f"{hidden}([0-9]+){hidden}", lambda match: words[int(match[1])], named(control, rendered))
        reader, ids = self._reader(control)
        return [ids.get(token, token) for token in reader.encode(text, add_special_tokens=False).ids]

    def _reader(self, mark: str) -> tuple[Any, dict[int, int]]:
        """A copy of the tokenizer that takes control tokens in a text for letters.

        With a `mark` it knows them by other names, "mark number mark"; the ids of these are told with their meaning.
        """
        if mark not in self._readers:
            reader = copy.deepcopy(self.tokenizer.backend_tokenizer)
            reader.no_truncation()
            reader.no_padding()
            reader.encode_special_tokens = True
            ids = {}
            for number, token in enumerate(self._control.values() if mark else ()):
                name = f"{mark}{number}{mark}"
                reader.add_tokens([AddedToken(name, lstrip=token.lstrip, rstrip=token.rstrip, normalized=False)])
                ids[reader.token_to_id(name)] = self.tokenizer.convert_tokens_to_ids(token.content)
            self._readers[mark] = reader, ids
        return self._readers[mark]


__all__ = ["Encoder", "TooLong"]
