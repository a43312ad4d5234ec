"""A generic client finds the services and calls them, without the protocol's files."""

from __future__ import annotations

import unittest
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from client_tests.pair import running_pair
from processes import local


class Reflection(unittest.TestCase):
    def setUp(self) -> None:
        self.pair = running_pair()

    def reflect(self, port: int) -> tuple[grpc.Channel, ProtoReflectionDescriptorDatabase]:
        channel = grpc.insecure_channel(local(port))
        self.addCleanup(channel.close)
        database = ProtoReflectionDescriptorDatabase(channel)
        return channel, database

    def test_services_are_listed(self) -> None:
        for port, service in (
            (self.pair.edge, "tandem.v1.GenerationService"),
            (self.pair.cloud, "tandem.v1.SplitService"),
        ):
            with self.subTest(service):
                served = {service, "grpc.health.v1.Health"}
                own = {name for name in self.reflect(port)[1].get_services() if "reflection" not in name}
                self.assertEqual(own, served)

    def test_a_method_is_called_with_messages_made_from_what_reflection_says(self) -> None:
        channel, database = self.reflect(self.pair.edge)
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName("tandem.v1.GenerationService")

        model = self.call(channel, service.methods_by_name["GetModel"], {})
        self.assertEqual((model["split"], model["cloud_reachable"]), (10, True))

        prompt = "Why is the sky blue?"
        messages = [{"role": "user", "content": prompt}]
        request = {"messages": messages, "sampling": {"temperature": 0}, "max_tokens": 16}
        answer = self.call(channel, service.methods_by_name["Chat"], request)
        text = "".join(event.get("delta", {}).get("text", "") for event in answer)
        self.assertEqual(text + "\n", self.pair.greedy(prompt, 16))
        self.assertEqual(answer[-1]["finished"]["finish_reason"], "FINISH_REASON_LENGTH")

    def call(self, channel: grpc.Channel, method: Any, request: dict[str, Any]) -> Any:
        """The method's answer as JSON values; a list where it streams."""
        kinds = (method.input_type, method.output_type)
        asked, answered = (message_factory.GetMessageClass(kind) for kind in kinds)
        path = f"/{method.containing_service.full_name}/{method.name}"
        stub = channel.unary_stream if method.server_streaming else channel.unary_unary
        call = stub(path, asked.SerializeToString, answered.FromString)
        answer = call(json_format.ParseDict(request, asked()), timeout=60)
        as_json = lambda message: json_format.MessageToDict(message, preserving_proto_field_name=True)
        return [as_json(event) for event in answer] if method.server_streaming else as_json(answer)
