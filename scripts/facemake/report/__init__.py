"""What the report is drawn with: series, charts, contact sheets, words and templates.

The stages `report_pages` and `report` read the tables and fill these; nothing here opens a table
by its place in the results. A page is one file: style, script, pictures and charts stand in it, so
that it opens without a network and can be sent to a colleague as it is.
"""
