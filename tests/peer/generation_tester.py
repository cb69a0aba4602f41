# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Tests of `generate` for every system; `run.py` puts them where transformers' own would be.

The source distribution leaves the library's `GenerationTesterMixin` out, and its model tests ask for one. These check
`generate` against the model's own `forward`.
"""

import inspect

import torch
from transformers import set_seed


NEW = 4
ROWS = 3


class GenerationTesterMixin:
    """For a class with `model_tester` and `all_generative_model_classes`, as the library's."""

    def _generative(self):
        """Each model that generates, and inputs of a few rows."""
        for model_class in self.all_generative_model_classes:
            config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
            inputs = self._prepare_for_class(inputs, model_class)
            set_seed(0)
            model = model_class(config).eval()
            # Every caption has the same length.
            model.generation_config.update(eos_token_id=None, pad_token_id=0, bos_token_id=1)
            # A placeholder that was written would stand for an image when the text is read again.
            model.generation_config.suppress_tokens = self._placeholders(model) or None
            rows = {name: value[:ROWS] for name, value in inputs.items() if isinstance(value, torch.Tensor)}
            with self.subTest(model_class.__name__):
                yield model, rows

    @staticmethod
    def _placeholders(model):
        token = getattr(model.config, "image_token_id", None)
        return [] if token is None else [token]

    @staticmethod
    def _generate(model, inputs, **options):
        return model.generate(**inputs, max_new_tokens=NEW, **({"do_sample": False, "num_beams": 1} | options))

    def _step_by_step(self, model, inputs):
        """The likeliest token after the likeliest token, each time of the whole text."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        for _ in range(NEW):
            with torch.no_grad():
                logits = model(**inputs | {"input_ids": ids, "attention_mask": mask}, use_cache=False).logits
            logits[..., self._placeholders(model)] = -torch.inf
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        return ids

    def test_greedy_is_the_likeliest_token_of_forward(self):
        """With a growing cache, with none, and with one of fixed size."""
        for model, inputs in self._generative():
            wanted = self._step_by_step(model, inputs)
            for options in ({}, {"use_cache": False}, {"cache_implementation": "static"}):
                assert torch.equal(self._generate(model, inputs, **options), wanted), options

    def test_a_batch_generates_what_its_rows_generate(self):
        for model, inputs in self._generative():
            for beams in (1, 3):
                together = self._generate(model, inputs, num_beams=beams)
                for row in range(ROWS):
                    alone = {name: value[row : row + 1] for name, value in inputs.items()}
                    assert torch.equal(self._generate(model, alone, num_beams=beams)[0], together[row]), beams

    def test_padding_on_the_left_generates_the_same(self):
        for model, inputs in self._generative():
            padded = inputs | {
                "input_ids": torch.nn.functional.pad(inputs["input_ids"], (2, 0), value=0),
                "attention_mask": torch.nn.functional.pad(inputs["attention_mask"], (2, 0), value=0),
            }
            assert torch.equal(self._generate(model, padded)[:, 2:], self._generate(model, inputs))

    def test_scores_of_beams_are_log_probabilities_of_forward(self):
        for model, inputs in self._generative():
            found = self._generate(
                model,
                inputs,
                num_beams=3,
                num_return_sequences=2,
                length_penalty=0.0,
                return_dict_in_generate=True,
                output_scores=True,
            )
            start = inputs["input_ids"].shape[1]
            assert found.sequences.shape == (2 * ROWS, start + NEW)
            repeated = {name: value.repeat_interleave(2, 0) for name, value in inputs.items()}
            mask = torch.nn.functional.pad(repeated["attention_mask"], (0, NEW), value=1)
            with torch.no_grad():
                logits = model(**repeated | {"input_ids": found.sequences, "attention_mask": mask}).logits
            chosen = logits[:, start - 1 : -1].log_softmax(-1).gather(2, found.sequences[:, start:, None])
            torch.testing.assert_close(found.sequences_scores, chosen.sum((1, 2)), atol=1e-4, rtol=1e-4)
            better, worse = found.sequences_scores.view(ROWS, 2).unbind(1)
            assert (better >= worse).all()

    def test_scores_of_steps_are_logits_of_forward(self):
        for model, inputs in self._generative():
            found = self._generate(model, inputs, return_dict_in_generate=True, output_logits=True)
            start = inputs["input_ids"].shape[1]
            mask = torch.nn.functional.pad(inputs["attention_mask"], (0, NEW), value=1)
            with torch.no_grad():
                logits = model(**inputs | {"input_ids": found.sequences, "attention_mask": mask}).logits
            stacked = torch.stack(found.logits, 1)
            torch.testing.assert_close(stacked, logits[:, start - 1 : -1].float(), atol=1e-4, rtol=1e-4)

    def test_samples_follow_the_seed(self):
        for model, inputs in self._generative():
            drawn = []
            for seed in (0, 0, 1):
                set_seed(seed)
                drawn.append(self._generate(model, inputs, do_sample=True, num_return_sequences=2))
            assert drawn[0].shape == (2 * ROWS, inputs["input_ids"].shape[1] + NEW)
            assert torch.equal(drawn[0], drawn[1])
            assert not torch.equal(drawn[0], drawn[2])

    def test_a_caption_ends_at_the_end_token(self):
        for model, inputs in self._generative():
            whole = self._generate(model, inputs)
            start = inputs["input_ids"].shape[1]
            end = int(whole[0, start])
            ended = self._generate(model, inputs, eos_token_id=end)
            assert int(ended[0, start]) == end
            assert (ended[0, start + 1 :] == 0).all()
            for row in range(1, ROWS):
                words = whole[row, start:].tolist()
                words = words[: words.index(end) + 1] if end in words else words
                assert ended[row, start : start + len(words)].tolist() == words

    def test_forbidden_tokens_are_not_written(self):
        for model, inputs in self._generative():
            start = inputs["input_ids"].shape[1]
            forbidden = self._generate(model, inputs)[:, start:].unique().tolist()
            found = self._generate(model, inputs, suppress_tokens=[*forbidden, *self._placeholders(model)])[:, start:]
            assert not set(found.unique().tolist()) & set(forbidden)

    def test_logits_to_keep_are_the_last(self):
        for model, inputs in self._generative():
            assert "logits_to_keep" in inspect.signature(model.forward).parameters
            with torch.no_grad():
                every, last = (model(**inputs, logits_to_keep=count).logits for count in (0, 2))
            torch.testing.assert_close(last, every[:, -2:])
