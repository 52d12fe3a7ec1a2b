// The compiled DSDT as a read-only array.
        .section .rodata.bulkhead_dsdt_aml, "a"
        .global bulkhead_dsdt_aml
        .hidden bulkhead_dsdt_aml
        .global bulkhead_dsdt_aml_end
        .hidden bulkhead_dsdt_aml_end
        .balign 16
bulkhead_dsdt_aml:
        .incbin "dsdt.aml"
bulkhead_dsdt_aml_end:
        .section .note.GNU-stack, "", %progbits
