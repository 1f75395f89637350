"""How problems, tool calls and answers are written as tokens: tokenizer, template, parser, answer."""
