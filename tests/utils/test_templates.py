import jinja2
import pytest

from utils.templates import environment


def test_values_are_escaped_and_missing_ones_are_an_error(tmp_path):
    (tmp_path / "a.html").write_text('<b title="{{ name }}">{{ name }}</b>{{ picture | data_uri("image/png") }}')
    template = environment(tmp_path).get_template("a.html")
    shown = template.render(name='<script>"', picture=b"\x00\x01")
    assert shown == '<b title="&lt;script&gt;&#34;">&lt;script&gt;&#34;</b>data:image/png;base64,AAE='
    with pytest.raises(jinja2.UndefinedError):
        template.render(picture=b"")
