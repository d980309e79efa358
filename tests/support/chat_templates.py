"""Chat templates with what the templates of our families do, and some that break.

`TEMPLATES` can be cut into constant pieces; `UNCUTTABLE` cannot, each for the reason
beside it.
"""

from support.tiny_models import CHATML

_PLAIN_TURNS = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
)
_PROMPT = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"

TEMPLATES = {
    "chatml": CHATML,
    # A system message of its own, as SmolLM2 and Qwen2.5 have.
    "default system": (
        "{%- if messages[0]['role'] != 'system' %}"
        "{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
        "{%- endif %}" + _PLAIN_TURNS + _PROMPT
    ),
    # The start token, the date and trimmed messages, as Llama 3.2 has.
    "date and trim": (
        "{{- bos_token }}"
        "{%- if not date_string is defined %}"
        "{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
        "{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
        "{%- endif %}"
        "{{- '<|im_start|>system\\n\\nToday Date: ' + date_string + '\\n\\n<|im_end|>' }}"
        "{%- for message in messages %}"
        "{{- '<|im_start|>' + message['role'] + '\\n\\n' + message['content'] | trim"
        " + '<|im_end|>' }}"
        "{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n\\n' }}{%- endif %}"
    ),
    # Looks back for the last question and takes thoughts out of answers, as Qwen3 does.
    "thoughts": (
        "{%- set ns = namespace(last=messages|length - 1) %}"
        "{%- for message in messages[::-1] %}"
        "{%- if message.role == 'user' and not message.content.startswith('<tool_response>') %}"
        "{%- set ns.last = messages|length - 1 - loop.index0 %}{%- break %}"
        "{%- endif %}"
        "{%- endfor %}"
        "{%- for message in messages %}"
        "{%- set content = message.content %}"
        "{%- if message.role == 'assistant' and '</think>' in content %}"
        "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}"
        "{%- endif %}"
        "{{- '<|im_start|>' + message.role + '\\n' }}"
        "{%- if message.role == 'assistant' and loop.index0 > ns.last %}"
        "{{- '<think>\\n\\n</think>\\n\\n' }}"
        "{%- endif %}"
        "{{- content + '<|im_end|>\\n' }}"
        "{%- endfor %}"
        "{{- '' if not tools else tools | tojson(indent=4) }}" + _PROMPT
    ),
    # Marks answers for training and indents its blocks over several lines.
    "generation marks": (
        "{% for message in messages %}\n"
        "    {% if message.role == 'assistant' %}\n"
        "        {% generation %}\n"
        "{{ message.content }}<|im_end|>\n"
        "        {% endgeneration %}\n"
        "    {% else %}\n"
        "<|im_start|>user {{ message.content }}<|im_end|><|im_start|>assistant \n"
        "    {%- endif %}\n"
        "{% endfor %}\n"
    ),
}

UNCUTTABLE = {
    "numbers its turns": (
        (
            "{% for message in messages %}"
            "{% if message.role == 'user' %}Question {{ loop.index }}: {% endif %}"
            "{{ message.content + '\n' }}"
            "{% endfor %}"
        ),
        "prints more than what stands around messages",
    ),
    "shows only the last message": (
        "{{ '<|im_start|>user\\n' + messages[-1].content + '<|im_end|>' }}",
        "rewrites the first turn once there is a second",
    ),
    "repeats the question": (
        "{{ messages[0].content }} {{ messages[0].content }}",
        "does not print a message exactly once",
    ),
    "strips only the end": (
        (
            "{% for message in messages %}"
            "{{ message.content.rstrip() }}{% if message.role == 'user' %}<|im_end|>{% endif %}"
            "{% endfor %}"
        ),
        "changes white space around messages",
    ),
    "refuses": (
        "{{ raise_exception('no conversation without a system message') }}",
        "cannot be rendered: no conversation without a system message",
    ),
    "adds numbers to texts": ("{{ messages[0].content + 1 }}", "cannot be rendered: "),
    "is no template": ("{% for message in messages %}", "is not valid: "),
    "escapes its sandbox": (
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "cannot be rendered: ",
    ),
}
"""Name -> template and how the reason begins."""
