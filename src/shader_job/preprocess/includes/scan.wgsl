// Inclusive prefix sum over a workgroup of SCAN_WORKGROUP_SIZE invocations (a power of two), of SCAN_TYPE.
// Method: Blelloch, "Prefix Sums and Their Applications", 1990: sums up a tree, then down again. The additions happen in the
// same order as on the site, so that sums of floats are the same to the bit.

var<workgroup> scan_bucket: array<array<SCAN_TYPE, SCAN_WORKGROUP_SIZE>, 2>;

fn scan_pass(i: u32, x: SCAN_TYPE) -> SCAN_TYPE {
    scan_bucket[0][i] = x;
    scan_bucket[1][i] = SCAN_TYPE(0);
    // Up: the last element of every block of 2, 4, 8, … gets the sum of its block.
    for (var scan_block = 2u; scan_block <= u32(SCAN_WORKGROUP_SIZE); scan_block = scan_block << 1u) {
        workgroupBarrier();
        if ((i & (scan_block - 1u)) == scan_block - 1u) {
            scan_bucket[0][i] += scan_bucket[0][i - scan_block / 2u];
        }
    }
    if (i == u32(SCAN_WORKGROUP_SIZE) - 1u) {
        scan_bucket[0][i] = SCAN_TYPE(0);
    }
    // Down: the left half of a block takes the sum before the block, the right half adds the left half's sum to it.
    var scan_to = 1u;
    for (var scan_half = u32(SCAN_WORKGROUP_SIZE) / 2u; scan_half >= 1u; scan_half = scan_half >> 1u) {
        workgroupBarrier();
        let scan_before = scan_half - 1u;
        let scan_behind = scan_half | scan_before;
        if ((i & scan_behind) == scan_behind) {
            scan_bucket[scan_to][i] = scan_bucket[1u - scan_to][i - scan_half] + scan_bucket[1u - scan_to][i];
        } else if ((i & scan_before) == scan_before) {
            scan_bucket[scan_to][i] = scan_bucket[1u - scan_to][i + scan_half];
        } else {
            scan_bucket[scan_to][i] = scan_bucket[1u - scan_to][i];
        }
        scan_to = 1u - scan_to;
    }
    return scan_bucket[1u - scan_to][i] + x;
}
