"""What proposes candidates: Blahut-Arimoto, the interior point, the search for a slope, columns that come in, halves.

Nothing here is believed: `certificate` bounds what they find, from the problem alone.
"""
