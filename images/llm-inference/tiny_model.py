"""Writes a language model that knows nothing and answers at once: it shows that a server works where there is no model."""

import sys

import gguf
import numpy

CONTEXT, WIDTH, FEED_FORWARD, HEADS, LAYERS = 512, 64, 128, 4, 2
SPECIAL = [("<unk>", gguf.TokenType.UNKNOWN), ("<s>", gguf.TokenType.CONTROL), ("</s>", gguf.TokenType.CONTROL)]


def main(path):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("nightjar-tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    words = vocabulary(writer)
    random = numpy.random.default_rng(7)

    def add(name, *shape):
        writer.add_tensor(name, random.normal(0, 0.05, shape).astype(numpy.float32))

    def ones(name):
        writer.add_tensor(name, numpy.ones(WIDTH, dtype=numpy.float32))

    add("token_embd.weight", words, WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        ones(f"{block}.attn_norm.weight")
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"]:
            add(f"{block}.{part}.weight", WIDTH, WIDTH)
        ones(f"{block}.ffn_norm.weight")
        add(f"{block}.ffn_gate.weight", FEED_FORWARD, WIDTH)
        add(f"{block}.ffn_up.weight", FEED_FORWARD, WIDTH)
        add(f"{block}.ffn_down.weight", WIDTH, FEED_FORWARD)
    ones("output_norm.weight")
    add("output.weight", words, WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vocabulary(writer):
    """Each byte is a word, so that any text can be read and written."""
    words = list(SPECIAL) + [(f"<0x{byte:02X}>", gguf.TokenType.BYTE) for byte in range(256)]
    words += [(chr(letter), gguf.TokenType.NORMAL) for letter in range(ord("a"), ord("z") + 1)]
    words += [("\u2581", gguf.TokenType.NORMAL)]
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([word for word, _ in words])
    writer.add_token_scores([0.0 if kind != gguf.TokenType.NORMAL else -1.0 for _, kind in words])
    writer.add_token_types([kind for _, kind in words])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    return len(words)


main(sys.argv[1])
