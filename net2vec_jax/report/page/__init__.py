"""The HTML page of a run: from arrays to one file that needs nothing else.

`content.ReportContent` holds what is shown, `render.render_page` makes the page of it. Its
template, style and scripts lie beside these modules and are put into the page as they are.
"""
