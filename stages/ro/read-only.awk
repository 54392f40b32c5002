# Makes the system's own file systems in fstab read-only; all others, such as a partition for data, stay as they are.
/^[[:space:]]*(#|$)/ || NF < 2 { print; next }
$2 == "/" || $2 == "/boot" || $2 == "/boot/firmware" || $2 == "/usr" {
    options = "ro"
    count = split($4, words, ",")
    for (i = 1; i <= count; i++)
        if (words[i] !~ /^(ro|rw|defaults)$/)
            options = options "," words[i]
    if (NF < 3)
        $3 = "auto"
    $4 = options
}
{ print }
