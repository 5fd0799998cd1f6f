"""Texts that do harm where a format shows them without escaping."""

from __future__ import annotations

__all__ = ["HOSTILE"]

HTML = (
    "<script>alert(1)</script>",
    "</td></tr></table><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script xlink:href=data:,alert(1)></script></svg>",
    "<iframe src=javascript:alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "--><script>alert(1)</script><!--",
    "]]><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "</summary><script>alert(1)</script>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<base href=javascript:alert(1)//>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<link rel=stylesheet href=data:,*{x:expression(alert(1))}>",
    "<form action=javascript:alert(1)><button>x",
    "<details open ontoggle=alert(1)>",
    "<body onload=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "{{ ''.__class__.__mro__ }}{% for x in 1 %}",
    "<scr\u0000ipt>alert(1)</script>",
    "<template><script>alert(1)</script></template>",
)
OTHERS = (
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "\x9b31m\x90q\x9c",
    "[bold red]x[/bold red][link=http://e.example]y[/link]",
    ":smile: [/]",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1,1)",
    "\t=1+1",
    "\uff1d1+1",
    '"quoted","fields",\r\nnew line',
    "a|b|c\n| --- |",
    "[x](javascript:alert(1)) ![y](http://e.example/z.png)",
    "https://e.example www.e.example a@e.example @team #12",
    "`code` **bold** _it_ ~~x~~ $\\input{/etc/passwd}$",
    "\\input{/etc/passwd} \\write18{rm}",
    "}}}{{{ \\end{tabular} % # & ~ ^ ^^41",
    "\u202eright to left\u2066",
    "\ud800 lone surrogate",
)
HOSTILE = HTML + OTHERS
"""Fifty texts."""
