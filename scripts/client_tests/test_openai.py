"""OpenAI's own client against the OpenAI-compatible API of the real pair."""

from __future__ import annotations

import json

import openai

from client_tests.calls import KEY, MESSAGES, NAME, PROMPT, TOKENS, ClientTest, Weather, call
from processes import wait_for


class OpenAiTest(ClientTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        # The client wants a key; the API asks for none.
        cls.client = openai.OpenAI(base_url=cls.recorder.base, api_key=KEY, max_retries=0, timeout=60)
        cls.addClassCleanup(cls.client.close)

    def chat(self, **fields):
        return self.client.chat.completions.create(
            **{"model": NAME, "messages": MESSAGES, "max_tokens": TOKENS, "temperature": 0, **fields}
        )

    @call("openai", "chat.completions.create()")
    def test_a_greedy_chat_is_what_the_edge_itself_would_print(self) -> None:
        answer = self.chat()
        [choice] = answer.choices
        self.assertEqual(choice.message.role, "assistant")
        self.assertEqual(choice.message.content, self.greedy())
        self.assertEqual(choice.finish_reason, "length")
        self.assertTrue(answer.id.startswith("chatcmpl-"))
        self.assertEqual((answer.object, answer.model), ("chat.completion", NAME))
        self.assertEqual(answer.usage.completion_tokens, TOKENS)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + TOKENS)

    @call("openai", "chat.completions.create(stream=True)")
    def test_a_streamed_chat_is_the_same_with_its_usage_last(self) -> None:
        expected = self.chat()
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
        self.assertEqual(text, expected.choices[0].message.content)
        self.assertEqual(chunks[-2].choices[0].finish_reason, "length")
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, TOKENS)
        # The first conversation is kept for its next turn, and the prompt's whole pages of 32 tokens are held.
        cached = chunks[-1].usage.prompt_tokens_details.cached_tokens
        self.assertEqual(cached, expected.usage.prompt_tokens // 32 * 32)
        self.assertEqual({chunk.id for chunk in chunks}, {chunks[0].id})

    def test_a_conversation_goes_on_with_what_it_was_answered(self) -> None:
        first = self.chat(max_tokens=8)
        turns = [*MESSAGES, first.choices[0].message.model_dump(), {"role": "user", "content": "And why?"}]
        second = self.chat(messages=turns)
        self.assertGreater(second.usage.prompt_tokens_details.cached_tokens, first.usage.prompt_tokens)

    def test_a_completion_goes_on_from_text_and_ids_whole_and_streamed(self) -> None:
        create = self.client.completions.create
        fields = {"model": NAME, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
        whole = create(**fields, logprobs=1)
        [choice] = whole.choices
        self.assertEqual("".join(choice.logprobs.tokens), choice.text)
        self.assertTrue(all(logprob <= 0 for logprob in choice.logprobs.token_logprobs))
        self.assertEqual(len(choice.logprobs.top_logprobs), 8)
        streamed = "".join(chunk.choices[0].text for chunk in create(**fields, stream=True))
        self.assertEqual(streamed, choice.text)
        self.assertEqual(create(**{**fields, "prompt": [504]}).usage.prompt_tokens, 1)
        stopped = create(**fields, stop=[choice.text[-3:]])
        self.assertEqual(stopped.choices[0].finish_reason, "stop")
        self.assertNotIn(choice.text[-3:], stopped.choices[0].text)

    def test_a_seed_gives_the_same_text_and_another_one_another(self) -> None:
        def text(seed: int) -> str:
            fields = {"temperature": 1.5, "seed": seed, "max_tokens": 24}
            return self.chat(**fields).choices[0].message.content

        self.assertEqual(text(7), text(7))
        self.assertNotEqual(text(7), text(8))
        # Without a temperature it is the model's own or llama-server's, neither of which is greedy.
        drawn = {self.chat(temperature=openai.NOT_GIVEN, seed=seed).choices[0].message.content for seed in range(4)}
        self.assertGreater(len(drawn), 1)

    def test_log_probabilities_come_token_by_token(self) -> None:
        told = self.chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content
        self.assertEqual(len(told), TOKENS)
        for token in told:
            self.assertEqual(len(token.top_logprobs), 2)
            # Greedy: the chosen token is the most likely one.
            self.assertEqual((token.token, token.logprob), (token.top_logprobs[0].token, token.top_logprobs[0].logprob))

    def test_the_model_is_listed_and_found(self) -> None:
        self.assertEqual([model.id for model in self.client.models.list()], [NAME])
        self.assertEqual(self.client.models.retrieve(NAME).object, "model")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("gpt-4")

    def test_what_is_not_served_is_refused_by_name(self) -> None:
        with self.assertRaises(openai.NotFoundError) as refused:
            self.chat(model="gpt-4")
        self.assertEqual(refused.exception.code, "model_not_found")
        unknown = {"response_format": {"type": "yaml"}}
        for fields, param in (({"n": 0}, "n"), ({"top_p": 2}, "top_p"), (unknown, "response_format.type")):
            with self.assertRaises(openai.BadRequestError) as refused:
                self.chat(**fields)
            self.assertEqual(refused.exception.param, param)
            self.assertEqual(refused.exception.type, "invalid_request_error")

    def test_several_answers_come_in_one_response(self) -> None:
        answer = self.chat(n=3, temperature=1, seed=5)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2])
        self.assertGreater(len({choice.message.content for choice in answer.choices}), 1)

    @call("openai", "completions.create()")
    def test_each_of_several_prompts_is_continued(self) -> None:
        prompts = ["The capital of France is", "One, two,"]
        completion = self.client.completions.create(model=NAME, prompt=prompts, max_tokens=4, temperature=0, echo=True)
        for prompt, choice in zip(prompts, completion.choices, strict=True):
            self.assertTrue(choice.text.startswith(prompt))

    @call("openai", "embeddings.create()")
    def test_embeddings_are_refused_by_their_path(self) -> None:
        with self.assertRaises(openai.NotFoundError) as refused:
            self.client.embeddings.create(model=NAME, input=PROMPT)
        self.assertEqual(refused.exception.code, "not_found")
        self.assertIn("/v1/embeddings", refused.exception.message)

    def test_functions_are_told_and_a_conversation_with_calls_goes_on(self) -> None:
        parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
        tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
        told = self.chat(tools=tools)
        self.assertGreater(told.usage.prompt_tokens, self.chat().usage.prompt_tokens)
        call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
        turns = [
            *MESSAGES,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "Rain."},
        ]
        self.assertTrue(self.chat(messages=turns, tools=tools).choices[0].message.content)

    @call("openai", "chat.completions.parse(response_format=Model)")
    def test_an_answer_is_the_pydantic_model_that_was_asked_for(self) -> None:
        asked = {"model": NAME, "max_tokens": 200, "temperature": 0, "response_format": Weather}
        answer = self.client.chat.completions.parse(messages=MESSAGES, **asked)
        weather = answer.choices[0].message.parsed
        self.assertIn(weather.sky, ("clear", "cloudy"))
        self.assertLessEqual(len(weather.places), 2)
        with self.client.chat.completions.stream(messages=MESSAGES, **asked) as stream:
            self.assertEqual(stream.get_final_completion().choices[0].message.parsed, weather)
        response = self.client.responses.parse(model=NAME, input=PROMPT, text_format=Weather, temperature=0)
        self.assertIsInstance(response.output_parsed, Weather)

    def test_json_mode_answers_with_an_object(self) -> None:
        answer = self.chat(max_tokens=400, seed=3, response_format={"type": "json_object"})
        if answer.choices[0].finish_reason == "stop":
            self.assertIsInstance(json.loads(answer.choices[0].message.content), dict)
        else:
            self.assertTrue(answer.choices[0].message.content.startswith("{"))

    @call("openai", "chat.completions.create(tools=...)")
    def test_a_function_that_is_required_is_called(self) -> None:
        tool = openai.pydantic_function_tool(Weather, name="report")
        for choice in ("required", {"type": "function", "function": {"name": "report"}}):
            answer = self.client.chat.completions.parse(
                model=NAME, messages=MESSAGES, tools=[tool], tool_choice=choice, temperature=0, max_tokens=300,
                parallel_tool_calls=False,
            )
            [choice] = answer.choices
            self.assertEqual(choice.finish_reason, "tool_calls")
            [call] = choice.message.tool_calls
            self.assertIsInstance(call.function.parsed_arguments, Weather)
        chunks = self.chat(tools=[tool], tool_choice="required", max_tokens=300, parallel_tool_calls=False, stream=True)
        deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
        Weather.model_validate_json("".join(delta.function.arguments for delta in deltas))
        self.assertGreater(len(deltas), 2, "as they are written")
        self.assertEqual([delta.function.name for delta in deltas if delta.id], ["report"])

    def test_the_function_that_is_named_is_called_once(self) -> None:
        tool = openai.pydantic_function_tool(Weather, name="report")
        choice = {"type": "function", "function": {"name": "report"}}
        answer = self.chat(tools=[tool], tool_choice=choice, max_tokens=300)
        self.assertEqual(len(answer.choices[0].message.tool_calls), 1)

    def test_a_call_that_is_cut_short_is_no_text(self) -> None:
        tool = openai.pydantic_function_tool(Weather, name="report")
        for tokens in (4, 12, 20):
            [choice] = self.chat(tools=[tool], tool_choice="required", max_tokens=tokens).choices
            self.assertFalse(choice.message.content)
            self.assertEqual(choice.finish_reason, "length")

    @call("openai", "responses.create()")
    def test_a_response_is_the_same_answer_whole_and_in_events(self) -> None:
        fields = {"model": NAME, "input": PROMPT, "max_output_tokens": TOKENS, "temperature": 0}
        expected = self.chat().choices[0].message.content
        whole = self.client.responses.create(**fields)
        self.assertEqual(whole.output_text, expected)
        self.assertEqual((whole.status, whole.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        with self.client.responses.stream(**fields) as stream:
            events = list(stream)
        self.assertEqual("".join(e.delta for e in events if e.type == "response.output_text.delta"), expected)
        self.assertEqual(events[-1].type, "response.incomplete")
        turns = [
            {"role": "user", "content": PROMPT},
            *(item.model_dump(exclude_none=True) for item in whole.output),
            {"role": "user", "content": "And why?"},
        ]
        second = self.client.responses.create(**{**fields, "input": turns})
        self.assertGreater(second.usage.input_tokens, whole.usage.input_tokens)

    def test_unknown_fields_are_passed_over_and_told(self) -> None:
        raw = self.client.chat.completions.with_raw_response.create(
            model=NAME, messages=MESSAGES, max_tokens=1, user="ann", extra_body={"beams": 4}
        )
        self.assertEqual(raw.headers["x-tandem-passed-over"], "user, beams")
        self.assertEqual(raw.parse().usage.completion_tokens, 1)

    def test_vllms_fields_are_served(self) -> None:
        extra = {"top_k": 1, "min_p": 0.1, "repetition_penalty": 1.0, "ignore_eos": True}
        # One token to draw from: greedy whatever the temperature.
        drawn = self.chat(temperature=1.5, extra_body=extra)
        self.assertEqual(drawn.choices[0].message.content, self.chat().choices[0].message.content)

    def test_a_stream_that_is_closed_frees_the_clouds_session(self) -> None:
        stream = self.chat(max_tokens=2000, stream=True, extra_body={"ignore_eos": True})
        for _, chunk in zip(range(4), stream):
            self.assertIsNone(chunk.choices[0].finish_reason)
        self.assertEqual(self.pair.running_sessions(), 1)
        stream.close()
        wait_for(lambda: self.pair.running_sessions() == 0, "the cloud to free the session", 5)
