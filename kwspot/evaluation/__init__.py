"""How good a model is: on clips, in noise and rooms, in long audio; and whether one is better than another.

    run + split of a corpus -> figures, kept as JSON in the run's folder        runs -> rows, differences

Figures only: how they look is the reports' matter. Imports inference, models, features, signal.
"""
