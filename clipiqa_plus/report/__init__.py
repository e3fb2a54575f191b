"""An evaluation as one HTML page that opens offline.

In comes the folder of an evaluation, without a model; out go the page, its charts and the gallery
of best and worst pictures, and what is sent to loggers. Public: ``page.write_report``,
``gallery.write_gallery``, ``loggers.log_evaluation``.
"""
