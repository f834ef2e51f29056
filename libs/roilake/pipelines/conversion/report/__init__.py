"""What the page of a conversion night shows beside what every page does: its impressions, and its teachers."""

from roilake.pipelines.conversion.report.impressions import count_impressions, impressions_section, volume
from roilake.pipelines.conversion.report.teachers import teachers_section
from roilake.pipelines.conversion.report.texts import TEXTS

__all__ = ["TEXTS", "count_impressions", "impressions_section", "teachers_section", "volume"]
