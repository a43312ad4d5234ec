"""langchain-openai, and an agent of langchain, against the OpenAI-compatible API of the real pair."""

from __future__ import annotations

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain_core.messages import ToolMessage
from langchain_openai import ChatOpenAI

from client_tests.calls import KEY, NAME, NEXT, PROMPT, SUM, TOKENS, ClientTest, Number, Weather, call


@wrap_model_call
def one_call_then_words(request, handler):
    """What a larger model would choose by itself: the tool first, then an answer."""
    called = any(isinstance(message, ToolMessage) for message in request.messages)
    settings = {"parallel_tool_calls": False}
    return handler(request.override(tool_choice="none" if called else "required", model_settings=settings))


class LangChainTest(ClientTest):
    def model(self, tokens: int = TOKENS) -> ChatOpenAI:
        return ChatOpenAI(
            model=NAME, base_url=self.recorder.base, api_key=KEY, max_retries=0, temperature=0, max_tokens=tokens
        )

    @call("langchain-openai", "ChatOpenAI.invoke()")
    def test_a_conversation_goes_on_with_the_message_that_came(self) -> None:
        model = self.model()
        first = model.invoke(PROMPT)
        self.assertEqual(first.content, self.greedy())
        self.assertEqual(first.usage_metadata["output_tokens"], TOKENS)
        second = model.invoke([("user", PROMPT), first, ("user", NEXT)])
        self.assertTrue(second.content)
        self.assertGreater(
            second.usage_metadata["input_token_details"]["cache_read"], first.usage_metadata["input_tokens"]
        )

    @call("langchain-openai", "ChatOpenAI.stream()")
    def test_a_stream_is_the_same_answer(self) -> None:
        chunks = list(self.model().stream(PROMPT))
        self.assertGreater(len(chunks), TOKENS // 2)
        self.assertEqual("".join(chunk.content for chunk in chunks), self.greedy())

    @call("langchain-openai", "ChatOpenAI.with_structured_output(Model)")
    def test_an_answer_is_the_pydantic_model_that_was_asked_for(self) -> None:
        for method in ("json_schema", "function_calling"):
            structured = self.model(200).with_structured_output(Weather, method=method)
            self.assertIsInstance(structured.invoke(PROMPT), Weather, method)

    @call("langchain-openai", "create_agent(model, tools)")
    def test_an_agent_runs_its_tool_and_answers_with_the_result(self) -> None:
        ran = []

        def add(a: Number, b: Number) -> int:
            """Adds two numbers."""
            ran.append((a, b))
            return a + b

        agent = create_agent(self.model(60), [add], middleware=[one_call_then_words])
        said = agent.invoke({"messages": [("user", SUM)]})["messages"]
        self.assertEqual(ran, [(3, 4)])
        self.assertEqual([message.type for message in said], ["human", "ai", "tool", "ai"])
        self.assertIn("7", said[-1].content)
