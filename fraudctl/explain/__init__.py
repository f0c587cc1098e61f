"""What was missed, who was annoyed, what it cost, and what to do about it.

Owns the result model `Explanation` and everything that is computed for it: contributions, causes, contrasts, clusters,
campaigns, slices, the autopsy, and the explanation of a single event. It renders nothing: that is `fraudctl.report`.
"""
