// The devices that a guest cannot find by itself. The numbers are those of vcpu-host/layout.h; the
// test tests/unit/vcpu-host/boot/acpi_test.cc compares them.
DefinitionBlock ("dsdt.aml", "DSDT", 2, "BULKHD", "BULKHEAD", 1)
{
    // Power off: SLP_TYP of PM1a's and PM1b's control registers (ACPI 6.4, 7.4.2).
    Name (_S5, Package () { 5, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))  // PCI Express
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_SEG, 0)
            Name (_BBN, 0)

            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
                IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0000, 0x0CF7, 0, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0D00, 0xFFFF, 0, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                             0, 0xC0000000, 0xFEBFFFFF, 0, 0x3EC00000)
            })

            // PCI Firmware Specification 3.3, 4.5.1. No firmware competes for any feature: the guest may
            // have what it asks for, so the control word comes back as it is.
            Method (_OSC, 4, NotSerialized)
            {
                Local0 = Arg3
                CreateDWordField (Local0, 0, STS)
                If (Arg0 != ToUUID ("33DB4D5B-1FF7-401C-9657-7441C03DD766"))
                {
                    STS |= 4  // unknown UUID
                }
                ElseIf (Arg1 != 1)
                {
                    STS |= 8  // unknown revision
                }
                Return (Local0)
            }
        }

        // What is taken of address space without being a device: ECAM (PCI Firmware Specification 3.3,
        // 4.1.2, wants it here), the ACPI registers.
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xB0000000, 0x00100000)
                IO (Decode16, 0x0600, 0x0600, 1, 0x0C)
            })
        }

        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                IRQNoFlags () { 4 }
            })
        }

        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 1, 2)
                IRQNoFlags () { 8 }
            })
        }
    }
}
