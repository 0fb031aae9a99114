"""What acceptance costs to know: one scoring pass against the decoder run at every k, same prompts, same run.

Three ways to the block efficiency of k = 1..8: score text that is logged; write the text plainly, then score it; decode
at every k. Seconds are of the same process, interleaved by prompt; the control decodes k = 1 twice.
"""
