from __future__ import annotations

from typing import Any

from .model_files import ImportTest, ModelFile, sentencepiece_model


class ByteLevel(ImportTest):
    def tokenizer(self, pre: str, **metadata: Any) -> dict[str, Any]:
        model = ModelFile("llama")
        model.metadata["tokenizer.ggml.pre"] = pre
        model.metadata.update({f"tokenizer.ggml.{key}": value for key, value in metadata.items()})
        self.fresh_folder()
        self.out = self.imported(model)
        return self.out.json("tokenizer.json")

    def test_smollm_splits_digits_one_by_one(self) -> None:
        tokenizer = self.tokenizer("smollm")
        digits, byte_level = tokenizer["pre_tokenizer"]["pretokenizers"]
        self.assertEqual(digits, {"type": "Digits", "individual_digits": True})
        self.assertEqual((byte_level["type"], byte_level["add_prefix_space"], byte_level["use_regex"]), ("ByteLevel", False, True))
        self.assertEqual(tokenizer["decoder"]["type"], "ByteLevel")
        self.assertIsNone(tokenizer["post_processor"])
        self.assertIsNone(tokenizer["normalizer"])

    def test_llama3_and_qwen2_split_by_their_expressions(self) -> None:
        llama3 = self.tokenizer("llama-bpe")
        self.assertIn(r"\p{N}{1,3}|", llama3["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"])
        self.assertIs(llama3["pre_tokenizer"]["pretokenizers"][1]["use_regex"], False)
        self.assertIs(llama3["model"]["ignore_merges"], True)
        qwen2 = self.tokenizer("qwen2")
        self.assertIn(r"\p{L}+|\p{N}|", qwen2["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"])
        self.assertEqual(qwen2["normalizer"], {"type": "NFC"})
        self.assertIs(qwen2["model"]["ignore_merges"], False)

    def test_the_vocabulary_is_the_files_without_its_fillers(self) -> None:
        tokenizer = self.tokenizer("smollm")
        self.assertEqual(tokenizer["model"]["vocab"]["ab"], 30)
        self.assertFalse([token for token in tokenizer["model"]["vocab"] if token.startswith("[PAD")])
        self.assertEqual(tokenizer["model"]["merges"], ["a b", "\u0120 c"])
        added = {token["content"]: (token["id"], token["special"]) for token in tokenizer["added_tokens"]}
        self.assertEqual(added, {"<end>": (0, True), "<begin>": (1, True), "<tool>": (2, False)})

    def test_a_bos_goes_first_where_the_file_or_the_family_says_so(self) -> None:
        for pre, says, expected in (("smollm", None, False), ("smollm", True, True), ("llama-bpe", None, True), ("llama-bpe", False, False)):
            with self.subTest(pre=pre, says=says):
                tokenizer = self.tokenizer(pre, add_bos_token=says)
                self.assertIs(self.out.json("tokenizer_config.json")["add_bos_token"], expected)
                self.assertEqual(tokenizer["post_processor"] is not None, expected)
        self.assertEqual(self.tokenizer("llama-bpe")["post_processor"]["special_tokens"]["<begin>"]["ids"], [1])

    def test_the_companions(self) -> None:
        self.tokenizer("smollm", eot_token_id=1)
        config = self.out.json("tokenizer_config.json")
        self.assertEqual((config["bos_token"], config["eos_token"], config["pad_token"]), ("<begin>", "<end>", None))
        self.assertEqual(config["chat_template"], "{{ messages }}")
        self.assertEqual(config["model_max_length"], 512)
        self.assertEqual(self.out.json("generation_config.json"), {"bos_token_id": 1, "eos_token_id": [0, 1]})

    def test_an_unknown_pre_tokenizer_is_named(self) -> None:
        for pre, words in (("whatever-bpe", ("whatever-bpe",)), (None, ("tokenizer.ggml.pre",))):
            with self.subTest(pre):
                self.fresh_folder()
                model = ModelFile("llama")
                model.metadata["tokenizer.ggml.pre"] = pre
                self.assert_refused(model, *words)

    def test_an_unknown_tokenizer_model_is_named(self) -> None:
        model = ModelFile("llama")
        model.metadata["tokenizer.ggml.model"] = "rwkv"
        self.assert_refused(model, "tokenizer model rwkv")

    def test_a_merge_of_what_is_no_token_is_named(self) -> None:
        model = ModelFile("llama")
        model.metadata["tokenizer.ggml.merges"] = ["a b", "b a"]
        self.assert_refused(model, "'b a'", "'ba'")


class SentencePiece(ImportTest):
    def test_merges_follow_the_scores(self) -> None:
        imported = self.imported(sentencepiece_model())
        tokenizer = imported.json("tokenizer.json")
        self.assertEqual(tokenizer["model"]["merges"], ["a b", "\u2581 a", "ab c", "a bc", "b c"])
        self.assertIs(tokenizer["model"]["byte_fallback"], True)
        self.assertEqual(tokenizer["model"]["unk_token"], "<unk>")
        self.assertIs(imported.json("tokenizer_config.json")["add_bos_token"], True)

    def test_the_space_in_front_is_the_files_choice(self) -> None:
        model = sentencepiece_model()
        prepended = self.imported(model).json("tokenizer.json")["normalizer"]
        self.assertEqual(prepended["normalizers"][0], {"type": "Prepend", "prepend": "\u2581"})
        self.fresh_folder()
        model.metadata["tokenizer.ggml.add_space_prefix"] = False
        self.assertEqual(self.imported(model).json("tokenizer.json")["normalizer"]["type"], "Replace")

    def test_what_sentencepiece_can_do_and_this_cannot_is_refused(self) -> None:
        model = sentencepiece_model()
        model.metadata["tokenizer.ggml.remove_extra_whitespaces"] = True
        self.assert_refused(model, "remove_extra_whitespaces")
