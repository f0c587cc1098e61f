"""Reports: one document per result, rendered to HTML, Markdown, the terminal and a notebook.

Owns how results look. It computes no figure of its own: what stands in a report stands in the result that it shows.
"""
