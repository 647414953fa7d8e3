// Short strings: character codes and their number.

struct String {
    len: u32,
    chars: array<u32, STRING_MAX_LEN>,
}

fn strrev(s: String) -> String {
    var text = s;
    var reversed = s;
    for (var i = 0u; i < text.len; i++) {
        reversed.chars[text.len - 1u - i] = text.chars[i];
    }
    return reversed;
}

fn itoa(i: i32) -> String {
    var rest = u32(abs(i));
    var digits = String();
    loop {
        digits.chars[digits.len] = 0x30u + rest % 10u;
        digits.len++;
        rest /= 10u;
        if (rest == 0u || digits.len == STRING_MAX_LEN) {
            break;
        }
    }
    if (i < 0) {
        digits.chars[digits.len] = 0x2du;
        digits.len++;
    }
    return strrev(digits);
}
