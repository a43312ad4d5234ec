"""pydantic-ai against the OpenAI-compatible API of the real pair."""

from __future__ import annotations

from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from client_tests.calls import KEY, NAME, NEXT, PROMPT, SUM, TOKENS, ClientTest, Number, Weather, call


class PydanticAiTest(ClientTest):
    def agent(self, model: type = OpenAIChatModel, tokens: int = TOKENS, **options) -> Agent:
        provider = OpenAIProvider(base_url=self.recorder.base, api_key=KEY)
        settings = {"temperature": 0, "max_tokens": tokens}
        return Agent(model(NAME, provider=provider), **{"model_settings": settings, **options})

    @call("pydantic-ai-slim", "Agent.run_sync()")
    def test_a_conversation_goes_on_whole_and_streamed(self) -> None:
        for model in (OpenAIChatModel, OpenAIResponsesModel):
            agent = self.agent(model)
            first = agent.run_sync(PROMPT)
            self.assertEqual(first.output, self.greedy())
            second = agent.run_sync(NEXT, message_history=first.all_messages())
            self.assertGreater(second.usage.cache_read_tokens, first.usage.input_tokens)
        streamed = self.agent().run_stream_sync(PROMPT).stream_text(delta=True)
        self.assertEqual("".join(streamed), self.greedy())

    @call("pydantic-ai-slim", "Agent(output_type=Model)")
    def test_an_output_is_the_pydantic_model_that_was_asked_for(self) -> None:
        # By a function to be called with it, as is the default, and by the form of the answer.
        settings = {"temperature": 0, "max_tokens": 200, "parallel_tool_calls": False}
        for output in (Weather, NativeOutput(Weather)):
            for model in (OpenAIChatModel, OpenAIResponsesModel):
                agent = self.agent(model, output_type=output, model_settings=settings)
                self.assertIsInstance(agent.run_sync(PROMPT).output, Weather)

    @call("pydantic-ai-slim", "Agent(tools=[...])")
    def test_an_agent_runs_its_tool_and_answers_with_the_result(self) -> None:
        ran = []

        def add(a: Number, b: Number) -> int:
            """Adds two numbers."""
            ran.append((a, b))
            return a + b

        def settings(_) -> dict:
            """What a larger model would choose by itself: the tool first, then an answer."""
            choice = "none" if ran else "required"
            return {"temperature": 0, "max_tokens": 60, "parallel_tool_calls": False, "tool_choice": choice}

        answer = self.agent(tools=[add], model_settings=settings).run_sync(SUM)
        self.assertEqual(ran, [(3, 4)])
        self.assertIn("7", answer.output)
