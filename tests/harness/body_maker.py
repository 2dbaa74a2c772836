"""Bodies made from a seed: of what clients write, and of what they should not."""

from __future__ import annotations

import random
from collections.abc import Callable

Made = tuple[str, bytes]


class Maker:
    """Makes bodies from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pick = self.random.choice

    def some(self, make: Callable[[], bytes], most: int) -> list[bytes]:
        return [make() for _ in range(self.random.randint(0, most))]

    def rarely(self, often: object, *seldom: object, rate: float = 0.02) -> object:
        return self.pick(seldom) if self.random.random() < rate else often

    def odd(self, often: bytes, *seldom: bytes) -> bytes:
        made = self.rarely(often, *seldom)
        assert isinstance(made, bytes)
        return made

    def spoilt(self, body: bytes) -> bytes:
        """Now and then, with a byte too much or too few."""
        for _ in range(self.random.randint(1, 2) if self.random.random() < 0.15 else 0):
            at = self.random.randint(0, len(body))
            junk = self.pick(
                [b"", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"--", b'"', b";", b"\x00", b" ", b"=", b"\\"]
            )
            body = body[:at] + junk + body[at + self.random.randint(0, 2) :]
        return body

    # multipart

    def multipart(self) -> Made:
        boundary = self.pick(["B", "----WebKitFormBoundary7", "a'b(c)", "=x=", "x:y", "-", "a b", "name"])
        kinds = [f'multipart/form-data; boundary="{boundary}"']
        if all(c.isalnum() or c in "-'" for c in boundary):
            kinds.append(f"multipart/form-data; boundary={boundary}")
        content_type = str(
            self.rarely(
                self.pick(kinds),
                f"multipart/form-data; boundary={boundary}",
                f'Multipart/Form-Data; charset=utf-8; BOUNDARY="{boundary}"',
                f"multipart/form-data; boundary={boundary}; boundary=C",
                f"multipart/form-data; boundary*=utf-8''{boundary}",
                f"multipart/form-data; boundary*0={boundary[:1]}; boundary*1={boundary[1:]}",
                f"multipart/form-data; charset=utf-16; boundary={boundary}",
                f"multipart/form-data; charset=latin-1; boundary={boundary}",
                f"multipart/form-data ; boundary = {boundary}",
                f"multipart/form-data;boundary=<{boundary}>",
                f"multipart/form-data=1; boundary={boundary}",
                f'multipart/form-data; x="a;b"; boundary={boundary}',
                f'multipart/form-data; x="a\\"; boundary={boundary}; y="',
                "multipart/form-data",
                'multipart/form-data; boundary=""',
                f"multipart/*; boundary={boundary}",
                rate=0.15,
            )
        )
        dash = b"--" + boundary.encode()
        end = b"\r\n" if self.random.random() < 0.85 else b"\n"
        pieces = [self.odd(b"", b"preamble\r\n", b"\r\n", self.part(end) + end, b"x", dash[:-1] + end)]
        for part in self.some(lambda: self.part(end), 3):
            pieces += [
                dash,
                self.odd(b"", b" ", b"\t ", b"x", b"\x0b", b"--"),
                end,
                part,
                self.odd(end, b"", b"\n", b"\r"),
            ]
        pieces += [
            self.odd(dash + b"--", b"", dash, dash + b"--x", dash + b"-", dash + end),
            self.odd(
                end, b"", b" \r\n", b"\r\nepilogue", end + dash + end + self.part(end) + end + dash + b"--"
            ),
        ]
        return content_type, self.spoilt(b"".join(pieces))

    def part(self, end: bytes) -> bytes:
        headers = [self.disposition(end)]
        extra = [
            b"Content-Type: text/plain; charset=utf-8",
            b"X: y",
            b"no colon",
            b"Content-Transfer-Encoding: base64",
            b"content-transfer-encoding: 8bit",
            b"X: \xff",
            b"X: " + b"y" * 1100,
            self.disposition(end),
            b"\tfolded",
            b"Content-Type: text/plain; charset=iso-8859-1",
            b"X: a\rb",
            b"X: a\nb",
        ]
        headers += self.some(lambda: self.pick(extra), 1) if self.random.random() < 0.3 else []
        if self.random.random() < 0.05:
            headers = headers[1:]
        self.random.shuffle(headers)
        content = self.pick(
            [
                b"KCANARY-1",
                b"KCANARY-2",
                b"",
                b"a\r\nb",
                b"\r\n\r\n",
                b"YXBpa2V5",
                b"\xff",
                b"x\r",
                b"x\n",
                b"\n",
            ]
        )
        return end.join(headers) + self.odd(end + end, end, end + b"\n", b"\r\r", b"\n\n") + content

    def disposition(self, end: bytes) -> bytes:
        name = self.pick([b"apikey", b"apikey", b"apikey", b"a", b"Apikey", b"apikey[]"])
        written = self.odd(
            self.pick([b'name="%b"' % name, b"name=%b" % name]),
            b"NAME=%b" % name,
            b'name=" %b "' % name,
            b'name="%b\\""' % name,
            b'name="\\%b"' % name,
            b"name*=utf-8''%61pikey",
            b"name*=\"utf-8''apikey\"",
            b"name*=UTF-8'en'apikey",
            b"name*0=api; name*1=key",
            b"name*0*=utf-8''%61pi; name*1=key",
            b'name = "%b"' % name,
            b"name='%b'" % name,
            b"name=<%b>" % name,
            b'name="%%22%b"' % name,
            b'name="a"; name="%b"' % name,
            b'name="%b";' % name,
            b';; name="%b"' % name,
            b'x="a;b"; name="%b"' % name,
            b'x="a\\"; name="%b"' % name,
            end + b' name="%b"' % name,
            b'name="%b' % name,
            b'name="a\xff"; name="%b"' % name,
        )
        file = (
            self.pick([b"", b"", b"", b'; filename="f.txt"', b"; filename=f"])
            if self.random.random() < 0.8
            else self.pick(
                [
                    b'; filename=""',
                    b"; filename=",
                    b'; filename="C:\\f"',
                    b'; filename="C:\\"',
                    b'; filename="a\\"b"',
                    b'; filename="\\"',
                    b'; filename="a\\\\b"',
                    b'; filename="a\\\\"',
                    b'; filename="\\\\\\"; name=\\"apikey\\""',
                    b'; filename="a\\"; name="apikey"; x="\\""',
                    b"; filename*=utf-8''f",
                    b"; filename*=utf-8''",
                    b"; filename*=x''f",
                    b'; filename="/"',
                    b'; filename=" "',
                    b'; filename="50%.txt"',
                    b'; filename="a;b=c"',
                    b"; filename*0=f",
                    b'; filename=""; filename="f"',
                    b'; filename="\xc3\xa9"',
                    b'; filename="\xe9"',
                    b'; filename="a%22b"',
                    b'; filename="\x0b"',
                ]
            )
        )
        field = self.odd(
            b"Content-Disposition: ",
            b"content-disposition:",
            b"Content-Disposition : ",
            b" Content-Disposition: ",
            b"CONTENT-DISPOSITION:\t",
            b"Content-Disposition:  ",
            b"\x0bContent-Disposition: ",
        )
        kind = self.odd(b"form-data", b"attachment", b"", b"a=b", b"form-data x", b'"form-data"')
        both = [written, file[2:]] if file else [written]
        if self.random.random() < 0.3:
            both.reverse()
        return field + kind + self.odd(b"; ", b";", b" ; ", b";;", b", ") + b"; ".join(both)

    # JSON

    def json(self) -> Made:
        content_type = str(
            self.rarely(
                "application/json",
                "application/json; charset=utf-8",
                "APPLICATION/JSON;charset=UTF8",
                "application/vnd.api+json",
                "application/json; charset=latin-1",
                "application/json; charset=cp1252",
                "application/json; charset=utf-16",
                "application/json; charset=utf-7",
                "application/json; charset=cp037",
                "application/json; charset=unicode_escape",
                "application/json; charset=nonsense",
                "application/json; charset=",
                'application/json; charset="utf-16-le"',
                "application/json; charset*=utf-8''utf-7",
                "application/json; charset=utf-8; charset=utf-7",
                "application/json=x; a",
                " application/json\x0b",
                "application/*",
                "*/*",
                "text/json",
                "application/json, x",
                rate=0.4,
            )
        )
        text = self.pick(["", "", " ", "\n"]) + self.object(2) + self.pick(["", "", "\r\n", "x", " {}"])
        codec = str(
            self.rarely(
                "utf-8",
                "utf-8-sig",
                "utf-16",
                "utf-16-le",
                "utf-16-be",
                "utf-32",
                "utf-32-le",
                "utf-32-be",
                "latin-1",
                "utf-7",
                "cp037",
                rate=0.4,
            )
        )
        return content_type, self.spoilt(
            text.encode(
                codec, "surrogatepass" if codec.startswith("utf-") and codec != "utf-7" else "replace"
            )
        )

    def object(self, depth: int) -> str:
        space = self.pick(["", "", " ", "\n\t"])
        members = [
            space + self.member_name() + space + ":" + space + self.value(depth) + space
            for _ in range(self.random.randint(0, 4))
        ]
        return (
            "{"
            + self.pick([",", ","] if len(members) else [""]).join(members)
            + str(self.rarely("", ","))
            + "}"
        )

    def member_name(self) -> str:
        return self.pick(
            [
                '"apikey"',
                '"apikey"',
                '"a"',
                '"b"',
                '"\\u0061pikey"',
                '"Apikey"',
                '"é"',
                '"api\\u006bey"',
                '""',
                "'apikey'",
                "apikey",
            ]
            if self.random.random() < 0.2
            else ['"apikey"', '"a"', '"b"', '"é"']
        )

    def value(self, depth: int) -> str:
        if depth and self.random.random() < 0.2:
            return self.pick([self.object(depth - 1), "[" + self.object(depth - 1) + "]"])
        return self.pick(
            [
                '"KCANARY-1"',
                '"KCANARY-2"',
                '"\\u004bCANARY-1"',
                "1",
                "-1.5e3",
                "true",
                "null",
                '""',
                '"é\\ud800"',
                '"\ud83d\ude00"',
                '"apikey\\":\\"x"',
                "NaN",
                "-Infinity",
                "1" * 5000,
                "01",
                '"\x01"',
                '"\\x"',
                "[]",
                "{}",
                "[1,]",
                '"\u2028"',
            ]
            if self.random.random() < 0.3
            else ['"KCANARY-1"', "1", '"x"']
        )

    # forms

    def form(self) -> Made:
        content_type = str(
            self.rarely(
                "application/x-www-form-urlencoded",
                "application/x-www-form-urlencoded; charset=utf-8",
                "Application/X-WWW-Form-Urlencoded;x=y",
                "application/x-www-form-urlencoded; charset=utf-16",
                "application/x-www-form-urlencoded; charset=latin-1",
                "application/x-www-form-urlencoded; charset=utf-7",
                "application/x-www-form-urlencoded=1; a",
                "*/x-www-form-urlencoded",
                "application/x-url-encoded",
                rate=0.3,
            )
        )
        names = [
            b"apikey",
            b"%61pikey",
            b"api%6Bey",
            b"a",
            b"apikey[]",
            b"+apikey",
            b"%2561pikey",
            b"\xff",
            b"ap\xc3\xa9",
        ]
        values = [
            b"KCANARY-1",
            b"KCANARY%2d2",
            b"",
            b"a+b",
            b"%ff",
            b"\xff",
            b"a=b",
            b"%zz",
            b"x;apikey=KCANARY-1",
        ]
        pairs = self.some(lambda: self.pick(names) + self.odd(b"=", b"", b"==", b";") + self.pick(values), 4)
        return content_type, self.spoilt(self.odd(b"&", b"&&", b";").join(pairs))
