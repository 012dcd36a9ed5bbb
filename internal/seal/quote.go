package seal

// appendQuoted writes text, which is valid UTF-8, as a JSON string: what has to be
// escaped is, in the shortest form, and nothing else. Content is JSON, in which every
// few bytes is a quote, so it goes from one to the next.
func appendQuoted[T string | []byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(text); i++ {
		short := escapes[text[i]]
		if short == 0 {
			continue
		}
		dst = append(dst, text[start:i]...)
		start = i + 1
		if short != 'u' {
			dst = append(dst, '\\', short)
			continue
		}
		const hex = "0123456789abcdef"
		dst = append(dst, '\\', 'u', '0', '0', hex[text[i]>>4], hex[text[i]&15])
	}
	dst = append(dst, text[start:]...)
	return append(dst, '"')
}

// escapes has, for bytes that cannot stand as they are, what follows the backslash.
var escapes = func() (t [256]byte) {
	for c := range 0x20 {
		t[c] = 'u'
	}
	t['"'], t['\\'], t['\b'], t['\f'], t['\n'], t['\r'], t['\t'] = '"', '\\', 'b', 'f', 'n', 'r', 't'
	return t
}()
