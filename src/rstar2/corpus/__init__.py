"""The text world of the tiny base model: what stands in for web-scale pre-training.

`worked` writes attempts at problems (right, wrong and broken ones), `documents` turns them and copying
drills into plain text, `trial` runs our own generated snippets to know what they print.
"""
