"""dilnas finds the DilateFormer that fits a budget and a device, and measures it.

>>> from dilnas import variant, cost
>>> cost(variant("tiny")).flops
3176956736
"""
