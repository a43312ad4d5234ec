"""litellm against the OpenAI-compatible API of the real pair."""

from __future__ import annotations

import os

# As its documentation says for machines without the internet: its list of prices is not fetched.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

from client_tests.calls import KEY, MESSAGES, NAME, NEXT, SUM, TOKENS, ClientTest, Weather, call

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two numbers.",
        "parameters": {
            "type": "object",
            "properties": {name: {"type": "integer", "minimum": 0, "maximum": 99} for name in "ab"},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}


class LiteLlmTest(ClientTest):
    def completion(self, **fields):
        at = {"api_base": self.recorder.base, "api_key": KEY}
        asked = {"messages": MESSAGES, "max_tokens": TOKENS, "temperature": 0, **fields}
        return litellm.completion(model=f"openai/{NAME}", **at, **asked)

    @call("litellm", "completion()")
    def test_a_conversation_goes_on_with_the_message_that_came(self) -> None:
        first = self.completion()
        self.assertEqual(first.choices[0].message.content, self.greedy())
        turns = [*MESSAGES, first.choices[0].message, {"role": "user", "content": NEXT}]
        second = self.completion(messages=turns)
        self.assertTrue(second.choices[0].message.content)
        self.assertGreater(second.usage.prompt_tokens_details.cached_tokens, first.usage.prompt_tokens)

    @call("litellm", "completion(stream=True)")
    def test_a_stream_is_the_same_answer_with_its_usage(self) -> None:
        chunks = list(self.completion(stream=True, stream_options={"include_usage": True}))
        pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
        self.assertEqual("".join(pieces), self.greedy())
        self.assertEqual(chunks[-1].usage.completion_tokens, TOKENS)

    @call("litellm", "completion(tools=...)")
    def test_a_function_is_called_and_its_result_sent_back(self) -> None:
        question = {"role": "user", "content": SUM}
        wanted = {"tools": [TOOL], "parallel_tool_calls": False, "max_tokens": 100}
        answer = self.completion(messages=[question], tool_choice="required", **wanted)
        [choice] = answer.choices
        self.assertEqual(choice.finish_reason, "tool_calls")
        [made] = choice.message.tool_calls
        self.assertEqual((made.function.name, made.function.arguments), ("add", '{"a": 3, "b": 4}'))
        result = {"role": "tool", "tool_call_id": made.id, "content": "7"}
        last = self.completion(messages=[question, choice.message, result], tool_choice="none", **wanted)
        self.assertIn("7", last.choices[0].message.content)

    @call("litellm", "completion(response_format=Model)")
    def test_an_answer_is_the_pydantic_model_that_was_asked_for(self) -> None:
        answer = self.completion(response_format=Weather, max_tokens=200)
        self.assertIn(Weather.model_validate_json(answer.choices[0].message.content).sky, ("clear", "cloudy"))
